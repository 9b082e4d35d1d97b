"""Speech and its voices as OpenAI's SDK and plain HTTP clients see them."""

import base64
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from inference.engine.media.decoder import Decoder
from tests.support.audio_made import SPEECH_RATE, VOICES, library_speaks, make_pocket
from tests.support.server import ROOT, Server

PATH, VOICES_PATH = "/v1/audio/speech", "/v1/audio/voices"
TEXT = "Hello there"
LONG = "One two three four five. " * 40
TYPES = {"mp3": "audio/mpeg", "opus": "audio/ogg", "aac": "audio/aac", "flac": "audio/flac", "wav": "audio/wav"}
QUIET = 1e-4
"""Half a step of 16 bits, and more."""


@pytest.fixture
def sdk(audio_server: Server) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{audio_server.base_url}/v1", api_key=audio_server.key, max_retries=0)


@pytest.fixture
def http(audio_server: Server) -> Iterator[httpx.Client]:
    with audio_server.client() as client:
        yield client


@pytest.fixture(scope="module")
def own(audio_folders: dict[str, Path]) -> np.ndarray:
    return library_speaks(audio_folders["speaks"], TEXT)


def samples(pcm: bytes) -> np.ndarray:
    return np.frombuffer(pcm, "<i2") / 32768


def is_same(one: np.ndarray, other: np.ndarray) -> bool:
    """The engine's BLAS is another than ours, and here and there a sample falls to the other side of an edge; that the
    sound is the library's own, tests/engine/test_audio_speaking.py shows."""
    apart = np.abs(one - other)
    return bool((apart > QUIET).mean() < 1e-3 and apart.max() < 0.2 * np.abs(other).max())


def test_speech_is_the_librarys_own(audio_server: Server, sdk: openai.OpenAI, own: np.ndarray) -> None:
    before = len(audio_server.ledger())
    answer = sdk.audio.speech.create(model="speaks", input=TEXT, voice="default", response_format="pcm")
    assert answer.response.headers["content-type"] == "audio/pcm"
    assert is_same(samples(answer.content), own) and np.abs(own).max() > 0.1
    [row] = audio_server.settled(before, 1)
    assert (row["endpoint"], row["model"], row["outcome"]) == ("audio.speech", "speaks", "stop")
    assert (row["prompt_tokens"], row["completion_tokens"]) == (len(TEXT), 0)
    assert row["engine_seconds"] > 0 and row["ttft_ms"] > 0


def test_voices(sdk: openai.OpenAI, http: httpx.Client, audio_folders: dict[str, Path]) -> None:
    told = http.get(VOICES_PATH).json()
    assert told["object"] == "list" and told["data"] == told["voices"]
    assert [(each["id"], each["name"], each["model"], each["object"]) for each in told["data"]] == [
        (name, name, "speaks", "audio.voice") for name in ("default", *VOICES)
    ]
    assert http.get(f"{VOICES_PATH}?model=speaks").json() == told
    assert http.get(f"{VOICES_PATH}?model=hears").json()["data"] == []
    assert http.get(f"{VOICES_PATH}?model=nobody").status_code == 404
    for voice in (VOICES[1], {"id": VOICES[1]}):
        said = sdk.audio.speech.create(model="speaks", input=TEXT, voice=voice, response_format="pcm").content  # type: ignore[arg-type]
        assert is_same(samples(said), library_speaks(audio_folders["speaks"], TEXT, voice=VOICES[1]))


@pytest.mark.parametrize("form", TYPES)
def test_every_format(sdk: openai.OpenAI, own: np.ndarray, form: Any) -> None:
    answer = sdk.audio.speech.create(model="speaks", input=TEXT, voice="default", response_format=form)
    assert answer.response.headers["content-type"] == TYPES[form]
    with Decoder(workers=1) as decoder:
        heard = decoder.audio(answer.content, SPEECH_RATE)
    assert abs(heard.seconds - own.size / SPEECH_RATE) < 0.12
    if form in ("wav", "flac"):
        assert is_same(heard.samples, own)


def test_mp3_is_what_nobody_asked_for(http: httpx.Client) -> None:
    answer = http.post(PATH, json={"model": "speaks", "input": TEXT, "voice": "default", "speed": 2})
    assert answer.headers["content-type"] == "audio/mpeg"
    with Decoder(workers=1) as decoder:
        assert abs(decoder.audio(answer.content, SPEECH_RATE).seconds - 2.0) < 0.2


def test_it_is_streamed_as_it_is_made(audio_server: Server, sdk: openai.OpenAI, own: np.ndarray) -> None:
    """A text of three minutes begins long before it ends; who has heard enough pays for the text all the same."""
    before = len(audio_server.ledger())
    with sdk.audio.speech.with_streaming_response.create(
        model="speaks", input=LONG, voice="default", response_format="pcm"
    ) as answer:
        first = next(answer.iter_bytes(4800))
        [row] = audio_server.ledger()[before:]
        assert len(first) == 4800 and row["state"] == "running"
    [row] = audio_server.settled(before, 1)
    assert (row["outcome"], row["prompt_tokens"]) == ("disconnected", len(LONG))
    said = sdk.audio.speech.create(model="speaks", input=TEXT, voice="default", response_format="pcm").content
    assert is_same(samples(said), own), "the model kept something of the text before"


def test_events(http: httpx.Client, own: np.ndarray) -> None:
    body = {"model": "speaks", "input": TEXT, "voice": "default", "response_format": "pcm", "stream_format": "sse"}
    answer = http.post(PATH, json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in answer.text.splitlines() if line and not line.startswith(":")]
    *deltas, done = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert len(deltas) > 2 and {each["type"] for each in deltas} == {"speech.audio.delta"}
    said = b"".join(base64.b64decode(each["audio"]) for each in deltas)
    assert is_same(samples(said), own)
    usage = {"type": "tokens", "input_tokens": len(TEXT), "output_tokens": 0, "total_tokens": len(TEXT)}
    assert done == {"type": "speech.audio.done", "usage": usage}


def test_several_at_once_each_get_their_own(sdk: openai.OpenAI) -> None:
    texts = ["One", "Two three", "Four five six", TEXT]

    def say(text: str) -> bytes:
        return sdk.audio.speech.create(model="speaks", input=text, voice="default", response_format="pcm").content

    alone = [say(text) for text in texts]
    assert len(set(alone)) == len(texts)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(say, texts)) == alone


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"input": None}, "input", None),
        ({"input": ""}, "input", None),
        ({"input": " \n"}, "input", None),
        ({"input": "a" * 4097}, "input", None),
        ({"input": ["a"]}, "input", None),
        ({"voice": None}, "voice", None),
        ({"voice": ""}, "voice", None),
        ({"voice": {"name": "alba"}}, "voice.id", None),
        ({"voice": "alloy"}, "voice", "invalid_prompt"),
        ({"voice": "../voices/alba"}, "voice", "invalid_prompt"),
        ({"voice": "http://127.0.0.1/a.safetensors"}, "voice", "invalid_prompt"),
        ({"response_format": "midi"}, "response_format", None),
        ({"speed": 0.2}, "speed", None),
        ({"speed": 4.1}, "speed", None),
        ({"speed": "fast"}, "speed", None),
        ({"stream_format": "websocket"}, "stream_format", None),
        ({"instructions": "Whisper."}, "instructions", "invalid_prompt"),
        ({"model": None}, "model", None),
    ],
)
def test_what_can_not_be_spoken(http: httpx.Client, fields: dict[str, Any], param: str, code: str | None) -> None:
    body = {"model": "speaks", "input": TEXT, "voice": "default", **fields}
    answer = http.post(PATH, json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, param, code), error
    assert TEXT not in error["message"], "no text of the prompt in an error"


@pytest.mark.parametrize(("model", "kind"), [("atelier-tiny", "text"), ("hears", "transcription")])
def test_a_model_that_does_not_speak_is_a_400(http: httpx.Client, model: str, kind: str) -> None:
    answer = http.post(PATH, json={"model": model, "input": TEXT, "voice": "default"})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, "model", "unsupported_model")
    assert f"`{kind}`" in error["message"] and "`speech`" in error["message"]


def test_keys_methods_fields_and_unknown_models(audio_server: Server, http: httpx.Client) -> None:
    body = {"model": "nobody", "input": TEXT, "voice": "default"}
    assert http.post(PATH, json=body).json()["error"]["code"] == "model_not_found"
    assert http.get(PATH).status_code == 405 and http.post(VOICES_PATH, json={}).status_code == 405
    assert httpx.post(audio_server.base_url + PATH, json=body).status_code == 401
    assert httpx.get(audio_server.base_url + VOICES_PATH).status_code == 401
    said = http.post(PATH, json={**body, "model": "speaks", "seed": 3})
    assert said.status_code == 200 and said.headers["x-ignored-parameters"] == "seed"


def test_a_text_is_in_no_log(audio_server: Server, http: httpx.Client) -> None:
    for voice in ("default", "alloy"):
        http.post(PATH, json={"model": "speaks", "input": "Xylophone", "voice": voice, "response_format": "pcm"})
    assert "Xylophone" not in audio_server.output


def test_the_examples_of_the_documentation_run(audio_server: Server, tmp_path: Path) -> None:
    codes = re.findall(r"```py\n(.*?)```", (ROOT / "docs/audio.md").read_text(), re.S)
    assert len(codes) == 2
    # What is spoken is heard.
    code = "".join(codes[::-1])
    code = code.replace("http://localhost:8000", audio_server.base_url).replace("sk-atelier-…", audio_server.key)
    code = code.replace("my-whisper", "hears").replace("my-voice", "speaks")
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("w")


def test_a_model_without_voices_has_its_own(tmp_path: Path) -> None:
    from inference.engine.audio.load import load_audio_model

    folder = make_pocket(tmp_path / "mute")
    for file in (folder / "voices").iterdir():
        file.unlink()
    model, _ = load_audio_model(str(folder), "mute", "speech")
    assert model.voices == []
