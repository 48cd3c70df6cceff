from __future__ import annotations

import json
from typing import Any

import pytest

from api.payload import pointer, read_json, repeated, validate
from shared.contract.restorations import RestorationRequest
from shared.errors import InvalidRequest, MalformedRequest

VALID = {"input": {"key": "a.jpg"}}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "broken"),
        (b"{", "broken"),
        (b'{"a": 1} x', "broken"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        ('{"a": "ä"}'.encode("latin-1"), "UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "UTF-8"),
        (b'{"a": 1, "a": 1}', "twice"),
        (b'{"b": {"a": 1, "a": 2}}', "twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": -Infinity}', "Infinity"),
        (b'{"a": 1e999}', "too large"),
        (b'{"a": ' + b"9" * 5000 + b"}", "too large"),
        (b'{"a": "\\ud800"}', "surrogate"),
        (b'{"\\udfff": 1}', "surrogate"),
        (b"[" * 10_000 + b"]" * 10_000, "deeply"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "deeply"),
    ],
)
def test_what_is_no_strict_json_is_malformed(data: bytes, reason: str) -> None:
    with pytest.raises(MalformedRequest, match=reason):
        read_json(data)


class Name(str):
    """A name that counts how often it is compared with another one."""

    __slots__ = ()
    comparisons = 0

    def __eq__(self, other: object) -> bool:
        Name.comparisons += 1
        return super().__eq__(other)

    __hash__ = str.__hash__


def test_repeated_names_are_found_in_linear_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Name, "comparisons", 0)
    names = [Name(f"name {n}") for n in range(20_000)] + [Name("name 19999"), Name("name 7")]
    assert repeated(names) == ["name 19999", "name 7"]
    assert Name.comparisons < 2 * len(names)


def test_the_error_about_a_repeated_name_stays_short() -> None:
    name = "n" * 50_000
    with pytest.raises(MalformedRequest) as caught:
        read_json(f'{{"{name}": 1, "{name}": 2}}'.encode())
    assert len(caught.value.detail) < 300


def test_json_comes_out_as_it_went_in() -> None:
    value = {"a": [1, 2.5, None, True, "😀 ä"], "b": {}}
    assert read_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"colour": 1}, "/colour"),
        ({"options": {"strenght": 1}}, "/options/strenght"),
        ({"options": {"strength": "1"}}, "/options/strength"),
        ({"options": {"strength": True}}, "/options/strength"),
        ({"options": {"seed": 1.5}}, "/options/seed"),
        ({"options": {"faces": "some"}}, "/options/faces"),
        ({"options": {"faces": [0, "1"]}}, "/options/faces/1"),
        ({"options": []}, "/options"),
        ({"webhook": {}}, "/webhook/url"),
        ({"webhook": {"url": "https://a.example", "events": ["x"]}}, "/webhook/events/0"),
        ({"metadata": {"a/b~c": 1}}, "/metadata/a~1b~0c"),
        ({"metadata": {"k" * 65: "v"}}, "/metadata/" + "k" * 65),
        ({"priority": "urgent"}, "/priority"),
        ({"input": {}}, "/input"),
        ({"input": {"key": "a", "url": "https://a.example"}}, "/input"),
        ({"input": None}, "/input"),
    ],
)
def test_an_error_points_at_the_field(change: dict[str, Any], expected: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        validate(RestorationRequest, VALID | change)
    assert expected in dict(caught.value.errors)


def test_a_missing_field_is_pointed_at_where_it_should_be() -> None:
    with pytest.raises(InvalidRequest) as caught:
        validate(RestorationRequest, {})
    assert caught.value.errors == (("/input", "this field is needed"),)


@pytest.mark.parametrize("value", [[], "text", 1, None, True])
def test_what_is_no_object_is_pointed_at_as_a_whole(value: Any) -> None:
    with pytest.raises(InvalidRequest) as caught:
        validate(RestorationRequest, value)
    assert caught.value.errors == (("", "Input should be an object"),)


def test_one_field_has_one_error_however_many_ways_it_fails() -> None:
    with pytest.raises(InvalidRequest) as caught:
        validate(RestorationRequest, VALID | {"options": {"faces": 3}})
    ((where, detail),) = caught.value.errors
    assert where == "/options/faces"
    assert "largest" in detail
    assert "list" in detail


def test_no_detail_shows_what_was_sent() -> None:
    secret = "hunter2-hunter2"
    with pytest.raises(InvalidRequest) as caught:
        validate(RestorationRequest, {"input": {"key": [secret]}, "model": {"m": secret}})
    assert secret not in str(caught.value.problem())


def test_errors_without_end_are_cut_off() -> None:
    with pytest.raises(InvalidRequest) as caught:
        validate(RestorationRequest, VALID | {f"x{n}": 1 for n in range(500)})
    assert len(caught.value.errors) == 50


def test_pointers_escape_as_rfc_6901_says() -> None:
    assert pointer("a/b", "c~d", 0) == "/a~1b/c~0d/0"
    assert pointer() == ""
