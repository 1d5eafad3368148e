"""Security policy information files: Open XML SPIF (xmlspif.org, schemas 1.0 to 3.0) as a `LabelPolicy`.

Read are names, numbers, the rules about what may stand together, and the words for people; not read are translations
to other policies, input forms, colours and signatures: who may change the file may change the policy. An element that
nobody here knows is refused, since it could be a rule.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

from domsec import der, oids
from domsec.errors import MalformedMessage
from domsec.ess.categories import Syntax, TagKind
from domsec.ess.labels import UB_INTEGER_OPTIONS
from domsec.ess.reading import check_oid
from domsec.services import xml_tree
from domsec.services.label_policy import (
    Category,
    CategoryReference,
    CategoryTag,
    Classification,
    LabelPolicy,
    Marking,
    Requirement,
    TagSet,
)
from domsec.services.xml_tree import Element

NAMESPACES: Final = frozenset({"", "http://www.xmlspif.org/spif"})
MAX_NUMBER_DIGITS: Final = 38  # what a tag can hold

# elements that are rules or names, and those that are neither
_READ: Final = frozenset(
    {
        "SPIF", "securityPolicyId", "securityClassifications", "securityClassification", "securityCategoryTagSets",
        "securityCategoryTagSet", "securityCategoryTag", "tagCategory", "requiredCategory", "excludedCategory",
        "categoryGroup", "excludedClass", "requiredClass", "markingData", "markingQualifier", "qualifier", "code",
    }
)  # fmt: skip
_PASSED_OVER: Final = frozenset(
    {
        "defaultSecurityPolicyId", "updateInfo", "equivalentPolicies", "equivalentClassification",
        "equivalentSecCategoryTag", "equivalentSecurityCategoryTagSet", "privacyMarks", "extensions", "markingCode",
    }
)  # fmt: skip
_HERE: Final = frozenset({"pageBottom", "pageTopBottom"})  # where the marking that is made stands
_NO_PLACE: Final = frozenset({"noNameDisplay", "noMarkingDisplay", "suppressClassName", "replacePolicy"})
_SYNTAXES: Final[Mapping[str, Syntax]] = {oids.ID_MISSI_SECURITY_CATEGORIES: "sdn801"}


def read(octets: bytes) -> LabelPolicy:
    """The policy in a file. Raises MalformedMessage with the line, LimitExceeded."""
    root = xml_tree.parse(octets)
    if root.name != "SPIF" or root.namespace not in NAMESPACES:
        raise MalformedMessage(f"<{root.name}>, expected <SPIF>")
    _only_known(root)
    named, levels = root.first("securityPolicyId"), root.first("securityClassifications")
    if named is None or levels is None:
        raise MalformedMessage("a SPIF without securityPolicyId or securityClassifications")
    tag_sets = root.first("securityCategoryTagSets")
    return _reader(levels, tag_sets).policy(root, named, levels, tag_sets)


def _only_known(element: Element) -> None:
    for child in element.children:
        if child.name in _PASSED_OVER:
            continue
        if child.name not in _READ or child.namespace != element.namespace:
            raise MalformedMessage(f"line {child.line}: <{child.name}> in a SPIF, which is not known")
        _only_known(child)


@dataclass(frozen=True, slots=True)
class _Reader:
    """What references may mean: classifications and tag sets by name, and the categories there are."""

    levels: Mapping[str, int]
    tag_sets: Mapping[str, str]
    categories: frozenset[tuple[str, TagKind, int]]

    def policy(self, root: Element, named: Element, levels: Element, tag_sets: Element | None) -> LabelPolicy:
        return LabelPolicy(
            name=named.required("name"),
            oid=_oid(named, "id"),
            classifications=tuple(self.classification(e) for e in levels.all("securityClassification")),
            tag_sets=tuple(self.tag_set(e) for e in tag_sets.all("securityCategoryTagSet")) if tag_sets else (),
            marking=_marking(root),
            syntax=_SYNTAXES.get(root.get("rbacId") or "", "acp145"),
        )

    def classification(self, element: Element) -> Classification:
        number = _number(element, "lacv")
        if number > UB_INTEGER_OPTIONS:
            raise MalformedMessage(
                f"line {element.line}: classification {number}, expected {UB_INTEGER_OPTIONS} at most"
            )
        return Classification(
            number,
            element.required("name"),
            _number(element, "hierarchy"),
            _flag(element, "obsolete"),
            self.requirements(element),
            _marking(element),
        )

    def tag_set(self, element: Element) -> TagSet:
        oid = _oid(element, "id")
        tags = tuple(self.tag(e, oid) for e in element.all("securityCategoryTag"))
        return TagSet(element.required("name"), oid, tags)

    def tag(self, element: Element, oid: str) -> CategoryTag:
        name, kind = element.required("name"), _kind(element)
        most = 1 if _flag(element, "singleSelection") else _optional_number(element, "maxSelection")
        return CategoryTag(
            name,
            kind,
            tuple(self.category(e, oid, kind, name) for e in element.all("tagCategory")),
            bits=element.get("tag7Encoding") == "bitSetAttributes",
            least=_optional_number(element, "minSelection") or 0,
            most=most,
            marking=_marking(element),
        )

    def category(self, element: Element, oid: str, kind: TagKind, tag: str) -> Category:
        return Category(
            tag_set=oid,
            kind=kind,
            number=_number(element, "lacv"),
            name=element.required("name"),
            tag=tag,
            obsolete=_flag(element, "obsolete"),
            excluded_classifications=self.classes(element, "excludedClass"),
            required_classifications=self.classes(element, "requiredClass"),
            required=self.requirements(element),
            excluded=tuple(self.reference(e) for e in element.all("excludedCategory")),
            not_before=_time(element, "notBefore"),
            not_after=_time(element, "notAfter"),
            marking=_marking(element),
        )

    def classes(self, element: Element, name: str) -> frozenset[int]:
        """The classifications that elements, or an attribute, of this name mean."""
        stated = [child.text for child in element.all(name)]
        stated += [attribute] if (attribute := element.get(name)) else []
        for text in stated:
            if text not in self.levels:
                raise MalformedMessage(f"line {element.line}: {name} {text!r}, which is no classification")
        what = "excluded" if name == "excludedClass" else "required"
        _unique(stated, f"{what} classification in category {element.get('name')}")
        return frozenset(self.levels[text] for text in stated)

    def requirements(self, element: Element) -> tuple[Requirement, ...]:
        return tuple(self.requirement(e) for e in element.all("requiredCategory"))

    def requirement(self, element: Element) -> Requirement:
        references = tuple(self.reference(e) for e in element.all("categoryGroup"))
        operation = _operation(element)
        if not references:
            raise MalformedMessage(f"line {element.line}: a required category that names none")
        return Requirement(operation, references)

    def reference(self, element: Element) -> CategoryReference:
        oid = self.tag_sets.get(name := element.required("tagSetRef"))
        if oid is None:
            raise MalformedMessage(f"line {element.line}: tag set {name!r}, which is not there")
        kind, number = _kind(element), _optional_number(element, "lacv")
        if (number is None) is not _flag(element, "all"):
            raise MalformedMessage(f"line {element.line}: a reference with both or neither of lacv and all")
        if number is not None and (oid, kind, number) not in self.categories:
            raise MalformedMessage(f"line {element.line}: {kind} category {number} of {name!r}, which is not there")
        return CategoryReference(oid, kind, number)


def _reader(levels: Element, tag_sets: Element | None) -> _Reader:
    """From a first look at what there is; raises MalformedMessage for what is there twice."""
    classes = list(levels.all("securityClassification"))
    _unique((e.required("name") for e in classes), "classification")
    _unique((_number(e, "lacv") for e in classes), "classification number")
    sets = list(tag_sets.all("securityCategoryTagSet")) if tag_sets else []
    _unique((e.required("name") for e in sets), "tag set")
    _unique((_oid(e, "id") for e in sets), "tag set")
    categories = [
        (_oid(tag_set, "id"), _kind(tag), _number(category, "lacv"))
        for tag_set in sets
        for tag in tag_set.all("securityCategoryTag")
        for category in tag.all("tagCategory")
    ]
    _unique(categories, "category")
    return _Reader(
        {e.required("name"): _number(e, "lacv") for e in classes},
        {e.required("name"): _oid(e, "id") for e in sets},
        frozenset(categories),
    )


def _unique(found: Iterable[Hashable], what: str) -> None:
    seen: set[Hashable] = set()
    for one in found:
        if one in seen:
            shown = " ".join(map(str, one)) if isinstance(one, tuple) else one
            raise MalformedMessage(f"duplicate {what}: {shown}")
        seen.add(one)


# --- values ---------------------------------------------------------------------------------------------------------


def _oid(element: Element, name: str) -> str:
    text = element.required(name)
    check_oid(text)
    return text


def _number(element: Element, name: str) -> int:
    text = element.required(name)
    if not text.isascii() or not text.isdigit() or len(text) > MAX_NUMBER_DIGITS:
        raise MalformedMessage(f"line {element.line}: {name} is {text[:40]!r}, expected a number")
    return int(text)


def _optional_number(element: Element, name: str) -> int | None:
    return None if element.get(name) is None else _number(element, name)


def _flag(element: Element, name: str) -> bool:
    text = element.get(name) or "false"
    if text not in ("true", "false", "1", "0"):
        raise MalformedMessage(f"line {element.line}: {name} is {text[:40]!r}, expected true or false")
    return text in ("true", "1")


def _time(element: Element, name: str) -> datetime | None:
    text = element.get(name)
    return der.read_time(der.GENERALIZED_TIME, text.encode("utf-8")) if text else None


_KINDS: Final[Mapping[tuple[str, str | None], TagKind]] = {
    ("restrictive", None): TagKind.RESTRICTIVE,
    ("permissive", None): TagKind.PERMISSIVE,
    ("enumerated", "restrictive"): TagKind.ENUMERATED_RESTRICTIVE,
    ("enumerated", "permissive"): TagKind.ENUMERATED_PERMISSIVE,
    ("tagType7", None): TagKind.INFORMATIVE,
}


def _kind(element: Element) -> TagKind:
    stated = element.required("tagType")
    kind = _KINDS.get((stated, element.get("enumType") if stated == "enumerated" else None))
    if kind is None:
        raise MalformedMessage(f"line {element.line}: tagType {stated!r} with enumType {element.get('enumType')!r}")
    return kind


def _operation(element: Element) -> Literal["all", "oneOrMore", "onlyOne"]:
    match element.required("operation"):
        case "all":
            return "all"
        case "oneOrMore":
            return "oneOrMore"
        case "onlyOne":
            return "onlyOne"
        case other:
            raise MalformedMessage(f"line {element.line}: operation {other!r}, expected all, oneOrMore or onlyOne")


def _marking(element: Element) -> Marking:
    """The words of an element at the foot of a page, in the language that is not named."""
    phrase: str | None = None
    codes: set[str] = set()
    for data in element.all("markingData"):
        stated = {code.text for code in data.all("code")}
        places = stated - _NO_PLACE
        if data.get(_LANGUAGE) is None and (not places or places & _HERE):
            phrase = data.get("phrase") if phrase is None else phrase
            codes |= stated & _NO_PLACE
    words = {
        qualifier.required("qualifierCode"): qualifier.get("markingQualifier") or ""
        for qualifiers in element.all("markingQualifier")
        if (qualifiers.get("markingCode") or qualifiers.get("code") or "pageBottom") in _HERE
        for qualifier in qualifiers.all("qualifier")
        if qualifier.get(_LANGUAGE) is None
    }
    return Marking(
        phrase,
        words.get("prefix", ""),
        words.get("suffix", ""),
        words.get("separator", ""),
        hidden=bool(codes & {"noNameDisplay", "noMarkingDisplay"}),
        replaces_policy="replacePolicy" in codes,
        suppresses_classification="suppressClassName" in codes,
    )


_LANGUAGE: Final = "http://www.w3.org/XML/1998/namespace\nlang"
