"""Crowd's entities as XML: the same objects as in JSON, in the other spelling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

HEADER = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
LISTS = {"users": "user", "groups": "group", "attributes": "attribute"}


def to_xml(root: str, entity: dict[str, Any]) -> str:
    """`{"name": "ann", …}` under the element `root`."""
    return HEADER + ElementTree.tostring(_element(root, entity), encoding="unicode")


def _element(tag: str, entity: dict[str, Any]) -> Element:
    element = Element(tag)
    for key, value in entity.items():
        if key in {"expand", "restriction-type"} or (key == "name" and tag in LISTS.values()):
            element.set(key, str(value))
        elif key == "link":
            SubElement(element, "link", {"rel": value["rel"], "href": value["href"]})
        elif key == tag and key in LISTS:
            element.extend(_element(LISTS[key], item) for item in value)
        elif key == "values":
            values = SubElement(element, "values")
            for item in value:
                SubElement(values, "value").text = item
        elif isinstance(value, dict):
            element.append(_element(key, value))
        else:
            SubElement(element, key).text = _text(value)
    return element


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def memberships_xml(memberships: list[tuple[str, list[str], list[str]]]) -> str:
    """The dump: group, users, child groups."""
    root = Element("memberships")
    for group, users, children in memberships:
        membership = SubElement(root, "membership", {"group": group})
        inside = SubElement(membership, "users")
        for name in users:
            SubElement(inside, "user", {"name": name})
        below = SubElement(membership, "groups")
        for name in children:
            SubElement(below, "group", {"name": name})
    return HEADER + ElementTree.tostring(root, encoding="unicode")


def from_xml(text: str) -> Any:
    """The JSON spelling of an entity; raises ValueError."""
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(str(error)) from None
    return READERS.get(root.tag, _plain)(root)


def _plain(element: Element) -> dict[str, Any]:
    found: dict[str, Any] = dict(element.attrib)
    found.pop("expand", None)
    for child in element:
        if child.tag == "attributes":
            found["attributes"] = _attributes(child)
        elif child.tag == "active":
            found["active"] = (child.text or "").strip() == "true"
        elif child.tag == "password":
            found["password"] = {"value": child.findtext("value") or ""}
        elif child.tag != "link":
            found[child.tag] = child.text or ""
    return found


def _attributes(element: Element) -> dict[str, Any]:
    return {
        "attributes": [
            {
                "name": attribute.get("name", ""),
                "values": [value.text or "" for value in attribute.iter("value")],
            }
            for attribute in element.iter("attribute")
        ]
    }


def _restriction(element: Element) -> dict[str, Any]:
    if element.tag == "boolean-search-restriction":
        inside = element.find("restrictions")
        return {
            "restriction-type": element.tag,
            "boolean-logic": element.get("boolean-logic", "and"),
            "restrictions": [_restriction(each) for each in (() if inside is None else inside)],
        }
    if element.tag == "property-search-restriction":
        return {
            "restriction-type": element.tag,
            "property": {"name": element.findtext("property/name") or "", "type": "STRING"},
            "match-mode": element.findtext("match-mode") or "EXACTLY_MATCHES",
            "value": element.findtext("value") or "",
        }
    return {"restriction-type": element.tag}


READERS: dict[str, Callable[[Element], dict[str, Any]]] = {
    "attributes": _attributes,
    "boolean-search-restriction": _restriction,
    "property-search-restriction": _restriction,
    "null-search-restriction": _restriction,
    "new-name": lambda element: {"new-name": element.text or ""},
    "password": lambda element: {"value": element.findtext("value") or ""},
}
