"""Transcriptions and translations as OpenAI's SDK and plain HTTP clients see them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest

from tests.support.audio_made import library_hears, sweep
from tests.support.media_made import sound
from tests.support.server import Server

PATH, TRANSLATIONS, CHAT = "/v1/audio/transcriptions", "/v1/audio/translations", "/v1/chat/completions"
SECONDS = 2.5
SAMPLES = sweep(SECONDS)
WAV = sound("wav", "pcm_f32le", SAMPLES[None])
LONG = sound("mp3", "libmp3lame", sweep(110.0)[None], bit_rate=32_000)


@pytest.fixture
def sdk(audio_server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{audio_server.base_url}/v1", api_key=audio_server.key, max_retries=0)


@pytest.fixture
def http(audio_server: Server) -> Iterator[httpx.Client]:
    with audio_server.client() as client:
        yield client


@pytest.fixture(scope="module")
def own(audio_folders: dict[str, Path]) -> Any:
    return library_hears(audio_folders["hears"], SAMPLES)


def asked(
    http: httpx.Client, data: bytes = WAV, path: str = PATH, name: str = "a.wav", **fields: Any
) -> httpx.Response:
    return http.post(path, data={"model": "hears", **fields}, files={"file": (name, data)})


# --- what is answered ------------------------------------------------------------------------------------------------


def test_json_through_the_sdk(audio_server: Server, sdk: openai.OpenAI, own: Any) -> None:
    before = len(audio_server.ledger())
    said = sdk.audio.transcriptions.create(model="hears", file=("a.wav", WAV))
    assert said.text == own.text.strip() != ""
    assert said.usage is not None and (said.usage.type, said.usage.seconds) == ("duration", 3)
    [row] = audio_server.settled(before, 1)
    assert (row["endpoint"], row["model"], row["outcome"]) == ("audio.transcriptions", "hears", "stop")
    assert (row["prompt_tokens"], row["completion_tokens"]) == (50 * SECONDS, 0)
    assert row["engine_seconds"] > 0


def test_verbose_json_through_the_sdk(sdk: openai.OpenAI, own: Any) -> None:
    said = sdk.audio.transcriptions.create(model="hears", file=("a.wav", WAV), response_format="verbose_json")
    assert (said.text, said.duration, said.words) == (own.text.strip(), SECONDS, None)
    assert said.segments is not None
    names = ("id", "seek", "start", "end", "text", "tokens", "temperature", "avg_logprob", "compression_ratio",
             "no_speech_prob")  # fmt: skip
    assert [{name: getattr(each, name) for name in names} for each in said.segments] == [
        {name: each[name] for name in names} for each in own.segments
    ]


def test_words(sdk: openai.OpenAI, http: httpx.Client, audio_folders: dict[str, Path]) -> None:
    said = sdk.audio.transcriptions.create(
        model="hears", file=("a.wav", WAV), response_format="verbose_json", timestamp_granularities=["word"]
    )
    own = library_hears(audio_folders["hears"], SAMPLES, word_timestamps=True)
    words = [word for each in own.segments for word in each["words"]]
    assert said.words is not None and said.segments is None
    assert [(each.word, each.start, each.end) for each in said.words] == [
        (word["word"].strip(), word["start"], word["end"]) for word in words
    ]
    both = asked(http, response_format="verbose_json", **{"timestamp_granularities[]": ["word", "segment"]}).json()
    assert both["words"] and both["segments"]


def test_the_answer_is_openais_to_the_key(http: httpx.Client) -> None:
    said = asked(http, response_format="verbose_json", language="de").json()
    assert list(said) == ["task", "language", "duration", "text", "segments", "usage"]
    assert (said["task"], said["language"]) == ("transcribe", "german")
    assert list(asked(http).json()) == ["text", "usage"]


@pytest.mark.parametrize("form", ["text", "srt", "vtt"])
def test_plain_text(sdk: openai.OpenAI, http: httpx.Client, own: Any, form: Any) -> None:
    said = sdk.audio.transcriptions.create(model="hears", file=("a.wav", WAV), response_format=form)
    text = own.text.strip()
    [segment] = own.segments
    end = f"{segment['end']:06.3f}"
    expected = {
        "text": f"{text}\n",
        "srt": f"1\n00:00:00,000 --> 00:00:{end.replace('.', ',')}\n{text}\n\n",
        "vtt": f"WEBVTT\n\n00:00:00.000 --> 00:00:{end}\n{text}\n\n",
    }
    assert said == expected[form]  # type: ignore[comparison-overlap]
    assert asked(http, response_format=form).headers["content-type"] == "text/plain; charset=utf-8"


def test_a_stream_says_what_the_whole_does(audio_server: Server, sdk: openai.OpenAI, http: httpx.Client) -> None:
    before = len(audio_server.ledger())
    events = list(sdk.audio.transcriptions.create(model="hears", file=("a.mp3", LONG), stream=True))
    *deltas, done = events
    assert done.type == "transcript.text.done" and len(deltas) > 2
    assert "".join(each.delta for each in deltas) == done.text  # type: ignore[union-attr]
    assert done.text == asked(http, LONG, name="a.mp3").json()["text"]
    assert done.usage is not None and done.usage.input_tokens == done.usage.total_tokens
    streamed, whole = audio_server.settled(before, 2)
    assert (streamed["stream"], whole["stream"]) == (1, 0) and streamed["ttft_ms"] > 0
    assert streamed["prompt_tokens"] == whole["prompt_tokens"] == done.usage.input_tokens


@pytest.mark.parametrize(
    ("format", "codec"),
    [("mp3", "libmp3lame"), ("flac", "flac"), ("ogg", "libopus"), ("adts", "aac"), ("mp4", "aac"), ("webm", "libopus")],
)
def test_every_format_is_heard(http: httpx.Client, format: str, codec: str) -> None:
    rate = 48_000
    answer = asked(http, sound(format, codec, sweep(1.5, rate=rate)[None], rate), name="song.xyz")
    assert answer.status_code == 200 and answer.json()["usage"]["seconds"] == 2


def test_a_translation(audio_server: Server, http: httpx.Client, audio_folders: dict[str, Path]) -> None:
    before = len(audio_server.ledger())
    own = library_hears(audio_folders["hears"], SAMPLES, task="translate", initial_prompt="Ada", temperature=0.4)
    said = asked(http, path=TRANSLATIONS, prompt="Ada", temperature="0.4", response_format="verbose_json").json()
    assert (said["task"], said["language"], said["text"]) == ("translate", "english", own.text.strip())
    [row] = audio_server.settled(before, 1)
    assert row["endpoint"] == "audio.translations"


def test_fields_without_effect_are_named(http: httpx.Client) -> None:
    answer = asked(http, user="me", **{"keywords[]": ["a", "b"], "chunking_strategy": "auto"})
    assert answer.status_code == 200 and answer.headers["x-ignored-parameters"] == "user, keywords"


def test_silence_and_next_to_nothing_are_no_errors(http: httpx.Client) -> None:
    assert asked(http, sound("wav", "pcm_s16le", 0 * SAMPLES[None])).status_code == 200
    nothing = asked(http, sound("wav", "pcm_s16le", SAMPLES[None, :16])).json()
    assert nothing == {"text": "", "usage": {"type": "duration", "seconds": 1}}


# --- what is wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"model": ""}, "model", None),
        ({"response_format": "xml"}, "response_format", None),
        ({"response_format": "diarized_json"}, "response_format", None),
        ({"response_format": "srt", "stream": "true"}, "response_format", None),
        ({"temperature": "hot"}, "temperature", None),
        ({"temperature": "1.5"}, "temperature", None),
        ({"temperature": "nan"}, "temperature", None),
        ({"language": "English"}, "language", None),
        ({"language": "tlh"}, "language", "invalid_prompt"),
        ({"stream": "maybe"}, "stream", None),
        ({"timestamp_granularities[]": "word"}, "timestamp_granularities[]", None),
        ({"timestamp_granularities[]": "hour", "response_format": "verbose_json"}, "timestamp_granularities[]", None),
        ({"include[]": "logprobs"}, "include", None),
        ({"chunking_strategy[type]": "server_vad"}, "chunking_strategy", None),
        ({"prompt": "x" * 5000}, "prompt", None),
    ],
)
def test_fields_that_can_not_be(http: httpx.Client, fields: dict[str, str], param: str, code: str | None) -> None:
    answer = asked(http, **fields)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, param, code), error
    assert param in error["message"] and error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "media_unreadable"),
        (WAV[:44], "media_unreadable"),
        (sound("wav", "pcm_s16le", SAMPLES[None, :0]), "media_unreadable"),
        (LONG[:80] + b"\0" * 500, "media_unreadable"),
        (b"ID3 I am a text that is called a sound.", "media_unreadable"),
        (b"Hello, I am a text.", "media_unsupported"),
        (b"<svg></svg>", "media_unsupported"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "media_unsupported"),
        (WAV + bytes(1 << 20), "media_too_large"),
        # An hour and a bit, of which nothing is to be heard.
        (sound("flac", "flac", 0 * sweep(3700.0, rate=8000)[None], 8000), "media_too_large"),
    ],
    ids=["empty", "header", "no-samples", "truncated", "named", "text", "svg", "png", "bytes", "seconds"],
)
def test_files_that_can_not_be_heard(audio_server: Server, http: httpx.Client, data: bytes, code: str) -> None:
    before = len(audio_server.ledger())
    answer = asked(http, data, name="song.mp3")
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, "file", code), error
    assert "`file`" in error["message"]
    assert all(row["outcome"] == "refused" and not row["prompt_tokens"] for row in audio_server.ledger()[before:])


def test_forms_that_are_none(http: httpx.Client) -> None:
    assert http.post(PATH, json={"model": "hears"}).status_code == 400
    assert asked(http).status_code == 200
    missing = http.post(PATH, data={"model": "hears"}, files={"sound": ("a.wav", WAV)})
    assert missing.json()["error"]["param"] == "file"
    broken = http.post(PATH, content=b"--x\r\n", headers={"content-type": "multipart/form-data; boundary=y"})
    assert broken.status_code == 400
    unnamed = http.post(PATH, data={"file": "Hello", "model": "hears"}, files={"other": ("a", b"b")})
    assert unnamed.json()["error"]["param"] == "file"


def test_keys_methods_and_unknown_models(audio_server: Server, http: httpx.Client) -> None:
    assert asked(http, model="nobody").json()["error"]["code"] == "model_not_found"
    assert http.get(PATH).status_code == 405
    nobody = httpx.post(audio_server.base_url + PATH, data={"model": "hears"}, files={"file": ("a.wav", WAV)})
    assert nobody.status_code == 401


@pytest.mark.parametrize(("model", "kind"), [("atelier-tiny", "text"), ("default", "text"), ("speaks", "speech")])
def test_a_model_that_hears_nothing_is_a_400(http: httpx.Client, model: str, kind: str) -> None:
    for path in (PATH, TRANSLATIONS):
        answer = asked(http, path=path, model=model)
        error = answer.json()["error"]
        assert (answer.status_code, error["param"], error["code"]) == (400, "model", "unsupported_model")
        assert f"`{kind}`" in error["message"] and "`transcription`" in error["message"]


def test_chats_with_a_model_that_hears_are_a_400(http: httpx.Client) -> None:
    for model in ("hears", "speaks"):
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3}
        error = http.post(CHAT, json=body).json()["error"]
        assert (error["param"], error["code"]) == ("model", "unsupported_model")


# --- who dies, and who goes away -------------------------------------------------------------------------------------


def decoders(server: Server) -> list[psutil.Process]:
    return [each for each in server.children() if "inference.engine.media.worker" in each.cmdline()]


def test_a_dead_decoder_costs_nobody_else_anything(audio_server: Server, http: httpx.Client, own: Any) -> None:
    assert asked(http).status_code == 200
    for process in decoders(audio_server):
        process.kill()
    assert asked(http).json()["text"] == own.text.strip()
    assert decoders(audio_server)


def test_whoever_goes_away_is_charged_for_what_was_heard(audio_server: Server, http: httpx.Client, own: Any) -> None:
    before = len(audio_server.ledger())
    with http.stream("POST", PATH, data={"model": "hears", "stream": "true"}, files={"file": ("a", LONG)}) as answer:
        next(answer.iter_lines())
    [row] = audio_server.settled(before, 1)
    assert row["outcome"] == "disconnected" and 0 < row["prompt_tokens"] < 50 * 110
    assert asked(http).json()["text"] == own.text.strip()


def test_a_request_can_be_cancelled(audio_server: Server, http: httpx.Client) -> None:
    before = len(audio_server.ledger())
    headers = {"x-request-id": "heard-no-more"}
    fields, files = {"model": "hears", "stream": "true"}, {"file": ("a", LONG)}
    with http.stream("POST", PATH, data=fields, files=files, headers=headers) as answer:
        lines = answer.iter_lines()
        next(lines)
        with audio_server.client() as other:
            assert other.delete("/v1/requests/heard-no-more").status_code == 200
        assert "request_cancelled" in "".join(lines)
    [row] = audio_server.settled(before, 1)
    assert row["outcome"] == "cancelled"


def test_the_catalogue_and_the_capabilities_tell_the_kind(audio_server: Server, http: httpx.Client) -> None:
    models = {model["id"]: model for model in http.get("/v1/models").json()["data"]}
    assert {name: model["kind"] for name, model in models.items()} == {
        "atelier-tiny": "text", "hears": "transcription", "speaks": "speech",
    }  # fmt: skip
    assert models["hears"]["modalities"] == ["audio"] and models["hears"]["batching"] == "single"
    hears, speaks = (http.get(f"/v1/capabilities?model={name}").json() for name in ("hears", "speaks"))
    assert hears["modalities"]["audio_input"] and not hears["modalities"]["text"]
    assert speaks["modalities"]["audio_output"] and speaks["modalities"]["text"]
    assert hears["features"]["transcription"] and hears["features"]["speech"] and hears["model_type"] is None


def test_tokens_of_a_sound_are_taken_from_limits_before_it_is_heard(audio_server: Server) -> None:
    raw = audio_server.run("createkey", "--user", "admin", "--quiet").strip()
    audio_server.run("setquota", "--key", raw, "--metric", "tokens", "--window", "day", "--limit", "200")
    before = len(audio_server.ledger())
    with httpx.Client(base_url=audio_server.base_url, headers={"authorization": f"Bearer {raw}"}, timeout=60) as http:
        refused = asked(http, LONG)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "insufficient_quota")
        packed = asked(http, sound("flac", "flac", 0 * sweep(30.0, rate=8000)[None], 8000))
        assert (packed.status_code, packed.json()["error"]["code"]) == (429, "insufficient_quota")
        assert asked(http).status_code == 200
    rows = audio_server.settled(before, 3)
    assert [row["prompt_tokens"] for row in rows] == [0, 0, 50 * SECONDS]
    assert [row["outcome"] for row in rows] == ["refused", "refused", "stop"]
