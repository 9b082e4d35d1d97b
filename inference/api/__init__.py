"""The management API of models: the paths beside those of `accounts.api`, with the same manners. For those who may
`models.manage`."""
