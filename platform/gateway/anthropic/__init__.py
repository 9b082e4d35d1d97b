"""Anthropic's Messages, one more dialect: `request` and `blocks` make an `Ask` of a body, `wording` and `events` word
the answer, `errors` what goes wrong, and `endpoint` ties them together.
"""
