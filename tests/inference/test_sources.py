"""What may stand behind `serve`."""

import json

import pytest

from inference.sources import DEFAULT_MODEL, SourceError, load_path, parse_source


def folder_with(tmp_path, config, name="my-model"):
    folder = tmp_path / name
    folder.mkdir()
    (folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return folder


@pytest.mark.parametrize("given", ["atelier-tiny", "builtin:atelier-tiny"])
def test_a_built_in_model_by_name(given):
    source = parse_source(given)
    assert (source.name, source.source, source.aliases) == ("atelier-tiny", DEFAULT_MODEL, ())
    assert load_path(source.source).endswith("atelier-tiny")


def test_a_folder_is_known_by_its_name_and_by_its_path_as_given(tmp_path, monkeypatch):
    folder = folder_with(tmp_path, {"model_type": "qwen3"})
    monkeypatch.chdir(tmp_path)
    source = parse_source("./my-model/")
    assert source.name == "my-model"
    assert set(source.aliases) == {"./my-model/", str(folder)}
    assert load_path(source.source) == str(folder)


@pytest.mark.parametrize("given", ["mlx-community/Qwen3-4B-4bit", "gpt2"])
def test_a_hugging_face_id(given):
    source = parse_source(given)
    assert (source.name, source.source, source.revision) == (given, given, "")
    assert parse_source(f"{given}@v1.0").revision == "v1.0" and parse_source(f"{given}@v1.0").name == given
    with pytest.raises(SourceError, match=f"`atelier download {given}` gets it"):
        load_path(source.source)


@pytest.mark.parametrize("revision", ["", "../main", "a b", "/main", "x" * 201, "a..b"])
def test_what_can_be_no_revision_is_refused(revision):
    with pytest.raises(SourceError, match="can be no revision"):
        parse_source(f"org/model@{revision}")


@pytest.mark.parametrize("given", ["/nowhere", "./nowhere", "~/nowhere", "a b", "a/b/c", "", "builtin:nobody"])
def test_what_can_be_no_model_is_refused(given):
    with pytest.raises(SourceError, match="no such folder"):
        parse_source(given)


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("{", "can't be read"),
        ("[]", "model_type"),
        ("{}", "model_type"),
    ],
)
def test_a_folder_that_holds_no_model_is_refused(tmp_path, config, says):
    with pytest.raises(SourceError, match=says):
        parse_source(str(folder_with(tmp_path, config)))


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(SourceError, match=r"no config\.json"):
        parse_source(str(tmp_path))
