import re
from hmac import compare_digest

import pytest

from kidney.errors import ConfigError
from kidney.serving.guards import keys
from kidney.serving.guards.keys import entry, find_key, load_keys, main, new_key
from kidney.serving.settings import Settings, from_environment

A, B = new_key(), new_key()
ENTRIES = (entry("viewer", A), entry("archive", B))


def test_a_key_is_known_by_its_hash_and_another_is_not():
    known = load_keys(Settings(api_keys=ENTRIES))
    assert find_key(A, known).name == "viewer"
    assert find_key(B, known).name == "archive"
    for other in ("", A[:-1], A + "a", A.upper(), new_key(), ENTRIES[0], "ключ", "\udcff"):
        assert find_key(other, known) is None


def test_every_entry_is_compared_in_constant_time_wherever_the_key_is(monkeypatch):
    compared = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(other)
        return compare_digest(one, other)

    monkeypatch.setattr(keys.hmac, "compare_digest", compare)
    known = load_keys(Settings(api_keys=ENTRIES))
    for key in (A, B, "neither"):
        find_key(key, known)
    assert compared == [one.digest for one in known] * 3


def test_keys_are_long_and_each_is_another():
    made = {new_key() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"kidney_[\w-]{43}", key) for key in made)


def test_the_command_prints_a_key_and_its_entry_which_does_not_hold_it(capsys):
    assert main(["viewer"]) == 0
    printed = capsys.readouterr().out
    (key,) = re.findall(r"^  (kidney_\S+)$", printed, re.M)
    (kept,) = re.findall(r"^  (viewer:\S+)$", printed, re.M)
    assert find_key(key, load_keys(from_environment({"KIDNEY_API_KEYS": kept}))).name == "viewer"
    assert key not in kept


def test_a_name_that_would_not_read_back_is_refused(capsys):
    assert main(["a b:c"]) == 2
    assert "What to do" in capsys.readouterr().err


def test_a_file_adds_keys(tmp_path):
    path = tmp_path / "keys"
    path.write_text(f"# of the radiology\n{ENTRIES[1]}\n\n")
    environment = {"KIDNEY_API_KEYS": ENTRIES[0], "KIDNEY_API_KEYS_FILE": str(path)}
    names = [key.name for key in load_keys(from_environment(environment))]
    assert names == ["viewer", "archive"]
    with pytest.raises(ConfigError, match="KIDNEY_API_KEYS_FILE cannot be read"):
        load_keys(Settings(api_keys_file=tmp_path / "nothing"))


@pytest.mark.parametrize(
    "text",
    [A, "viewer:123", f"a b:{'0' * 64}", f"viewer:{A}"],
    ids=["the key", "short", "no name", "name and key"],
)
def test_what_is_no_entry_is_refused_and_not_repeated(text):
    with pytest.raises(ConfigError, match="API key 2") as raised:
        load_keys(Settings(api_keys=(ENTRIES[0], text)))
    assert text not in str(raised.value)


def test_a_name_belongs_to_one_key():
    with pytest.raises(ConfigError, match="viewer is there twice"):
        load_keys(Settings(api_keys=(ENTRIES[0], entry("viewer", B))))
