"""Sounds to text, and text to sounds."""

from gateway.audio import speech, transcript
from gateway.audio.form import TranscriptionForm, TranslationForm
from gateway.audio.transcriptions import Transcriptions, Translations
from gateway.audio.voices import VoiceList, Voices
from gateway.schema import examples
from gateway.schema.operation import BINARY, Operation, Query

OPERATIONS = (
    Operation(
        consumer=Transcriptions,
        method="POST",
        name="createTranscription",
        tag="OpenAI",
        summary="A sound in, what is said in it out",
        takes=TranscriptionForm,
        takes_form=True,
        gives=transcript.Transcription,
        gives_or=transcript.VerboseTranscription,
        gives_text=True,
        events=(transcript.TextDelta, transcript.TextDone),
        refuses=(404, 429, 499, 504),
        examples=examples.TRANSCRIPTIONS,
    ),
    Operation(
        consumer=Translations,
        method="POST",
        name="createTranslation",
        tag="OpenAI",
        summary="A sound in, what is said in it out, in English",
        takes=TranslationForm,
        takes_form=True,
        gives=transcript.Transcription,
        gives_or=transcript.VerboseTranscription,
        gives_text=True,
        refuses=(404, 429, 499, 504),
        examples=examples.TRANSLATIONS,
    ),
    Operation(
        consumer=speech.Speech,
        method="POST",
        name="createSpeech",
        tag="OpenAI",
        summary="A text in, a file of sound out, as it is made",
        takes=speech.SpeechRequest,
        gives=BINARY,
        binary_as=tuple(each.decode() for each in speech.CONTENT_TYPES.values()),
        events=(speech.SpeechDelta, speech.SpeechDone),
        refuses=(404, 429, 499, 504),
        examples=examples.SPEECH,
    ),
    Operation(
        consumer=Voices,
        method="GET",
        name="listVoices",
        tag="Atelier",
        summary="What speech models can speak with",
        gives=VoiceList,
        refuses=(404,),
        query=(Query("model", {"type": "string"}, "Only those of this model."),),
    ),
)
