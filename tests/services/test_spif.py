"""Security policy files: Spiffing's own tests have their answers, and what cannot be right is refused."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from domsec.errors import DomsecError, MalformedMessage
from domsec.ess.categories import Tag, TagKind, read_tags
from domsec.ess.labels import ESSSecurityLabel
from domsec.services import label_files, spif
from domsec.services.label_policy import Clearance, LabelPolicy, Marking

VECTORS = Path(__file__).resolve().parent.parent / "vectors" / "security-labels"
NOW = datetime(2026, 11, 23, tzinfo=UTC)
FOOD = "1.2.826.0.1.6726289.0.0"


def file(name: str) -> bytes:
    return (VECTORS / name).read_bytes()


def food(name: str = "food-policy.xml") -> LabelPolicy:
    return spif.read(file(name))


# --- expected.json ---------------------------------------------------------------------------------------------------


def _cases() -> list[Any]:
    """Each test with the policy file before it."""
    cases = []
    for sequence in json.loads(file("expected.json"))["sequences"]:
        policy = ""
        for step in sequence["children"]:
            policy = step.get("spif", policy)
            cases.append(pytest.param(policy, step, id=f"{policy}-{step.get('label')}-{step.get('clearance')}"))
    return cases


@pytest.mark.requirement("R2634-3.3.2-01", "R2634-3.1.2-02")
@pytest.mark.parametrize(("policy", "case"), _cases())
def test_the_answers_of_spiffing(policy: str, case: dict[str, str]) -> None:
    if case["tag"] == "policy":
        if "exception" not in case:
            assert food(policy).name == "Food"
            return
        with pytest.raises(MalformedMessage, match=re.compile(case["exception"], re.IGNORECASE)):
            food(policy)
        return
    rules = food(policy)
    label = label_files.read_label(file(case["label"]))
    if "exception" in case:
        assert "a label of policy 1.1" in rules.problems(label, NOW)[0]
        return
    assert bool(rules.problems(label, NOW)) is (case["valid"] == "false")
    if "label-marking" in case:
        assert rules.marking_of(label) == case["label-marking"]
    if "clearance" in case:
        clearance = label_files.read_clearance(file(case["clearance"]))
        assert bool(rules.refusals(label, clearance, NOW)) is (case["acdf-result"] == "0")
        if "clearance-marking" in case:
            assert rules.marking_of_clearance(clearance) == case["clearance-marking"]


def test_the_policy_in_the_dress_of_missi_says_the_same() -> None:
    plain, missi = food(), food("food-policy-missi.xml")
    assert (plain.syntax, missi.syntax) == ("acp145", "sdn801")
    for path in sorted(VECTORS.glob("food-label-*.xml")):
        label = label_files.read_label(path.read_bytes())
        assert missi.problems(label, NOW) == plain.problems(label, NOW)
        rewritten = missi.encode(missi.resolve(label).categories)
        again = ESSSecurityLabel(FOOD, label.security_classification, None, rewritten)
        assert len(rewritten) == 1
        assert missi.resolve(ESSSecurityLabel.read(again.write())) == missi.resolve(label)


@pytest.mark.parametrize("name", ["food-policy.xml", "food-policy-missi.xml"])
def test_a_file_that_is_no_xml_is_refused_with_its_line(name: str) -> None:
    """As Spiffing has them; see PROVENANCE.md."""
    octets = file(name).replace(b"</securityCategoryTagSet>\n\t</securityCategoryTagSets>",
                                b"</securityCategiryTagSet>\n\t</securityCategoryTagSets>")  # fmt: skip
    with pytest.raises(MalformedMessage, match=r"line 8\d: no XML: mismatched tag"):
        spif.read(octets)


# --- a policy that can be wrong in every way -------------------------------------------------------------------------

SPIF = """\
<SPIF xmlns="http://www.xmlspif.org/spif" xmlns:o="urn:other">
 <securityPolicyId name="Test" id="1.2.3"/>
 <securityClassifications>
  <securityClassification name="Low" lacv="1" hierarchy="1"/>
  <securityClassification name="High" lacv="2" hierarchy="2"/>
 </securityClassifications>
 <securityCategoryTagSets>
  <securityCategoryTagSet name="Release" id="1.2.3.1">
   <securityCategoryTag name="To" tagType="enumerated" enumType="permissive">
    <tagCategory name="A" lacv="1"/>
    <tagCategory name="B" lacv="2"/>
   </securityCategoryTag>
  </securityCategoryTagSet>
 </securityCategoryTagSets>
</SPIF>
"""


def changed(old: str, new: str) -> bytes:
    assert old in SPIF
    return SPIF.replace(old, new).encode()


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('<SPIF xmlns="http://www.xmlspif.org/spif"', '<SPIF xmlns="urn:x"', "expected <SPIF>"),
        ('<securityPolicyId name="Test" id="1.2.3"/>', "", "without securityPolicyId"),
        ('id="1.2.3"', 'id="1.2.x"', "object identifier"),
        ('id="1.2.3"', "", "without id"),
        ('lacv="2" hierarchy="2"', 'lacv="1" hierarchy="2"', "duplicate classification number: 1"),
        ('"High"', '"Low"', "duplicate classification: Low"),
        ('lacv="2" hierarchy="2"', 'lacv="257" hierarchy="2"', "classification 257"),
        ('lacv="2" hierarchy="2"', 'lacv="-2" hierarchy="2"', "expected a number"),
        ('hierarchy="2"', f'hierarchy="{"9" * 39}"', "expected a number"),
        ('hierarchy="2"', 'hierarchy="2" obsolete="maybe"', "expected true or false"),
        ('<tagCategory name="B" lacv="2"/>', '<tagCategory name="B" lacv="1"/>', "duplicate category"),
        ('enumType="permissive"', "", "tagType 'enumerated'"),
        ('tagType="enumerated"', 'tagType="other"', "tagType 'other'"),
        ('<tagCategory name="A" lacv="1"/>', "<newRule/>", "<newRule> in a SPIF, which is not known"),
        ('<tagCategory name="A" lacv="1"/>', '<o:tagCategory name="A" lacv="1"/>', "which is not known"),
        ("</securityCategoryTagSets>",
         '<securityCategoryTagSet name="Release" id="1.2.3.2"/></securityCategoryTagSets>', "duplicate tag set"),
        ("</securityCategoryTagSets>",
         '<securityCategoryTagSet name="R" id="1.2.3.1"/></securityCategoryTagSets>', "duplicate tag set"),
    ],
)  # fmt: skip
def test_a_policy_that_cannot_be_right(old: str, new: str, complaint: str) -> None:
    with pytest.raises(MalformedMessage, match=re.escape(complaint)):
        spif.read(changed(old, new))


REFERENCE = '<excludedCategory tagSetRef="Release" tagType="enumerated" enumType="permissive" lacv="1"/>'


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ("<excludedClass>Other</excludedClass>", "excludedClass 'Other', which is no classification"),
        ("<excludedClass>Low</excludedClass><excludedClass>Low</excludedClass>",
         "duplicate excluded classification in category B"),
        (REFERENCE.replace("Release", "Other"), "tag set 'Other', which is not there"),
        (REFERENCE.replace('lacv="1"', 'lacv="9"'), "category 9 of 'Release', which is not there"),
        (REFERENCE.replace('lacv="1"', 'lacv="1" all="true"'), "both or neither of lacv and all"),
        (REFERENCE.replace('lacv="1"', ""), "both or neither of lacv and all"),
        ('<requiredCategory operation="all"/>', "a required category that names none"),
        (f'<requiredCategory operation="most">{REFERENCE}</requiredCategory>', "operation 'most'"),
    ],
)  # fmt: skip
def test_a_rule_that_means_nothing(rule: str, complaint: str) -> None:
    with pytest.raises(MalformedMessage, match=re.escape(complaint)):
        spif.read(changed('<tagCategory name="B" lacv="2"/>', f'<tagCategory name="B" lacv="2">{rule}</tagCategory>'))


def test_what_is_no_rule_may_stand_there() -> None:
    more = '<extensions><o:anything/></extensions><equivalentPolicies><equivalentPolicy name="X" id="1.1"/>'
    assert spif.read(changed("</SPIF>", f"{more}</equivalentPolicies></SPIF>")) == spif.read(SPIF.encode())


# --- what each rule does ---------------------------------------------------------------------------------------------


def label(classification: int | None, *numbers: int, policy: LabelPolicy) -> ESSSecurityLabel:
    categories = policy.encode(c for c in policy.categories if c.number in numbers)
    return ESSSecurityLabel("1.2.3", classification, None, categories)


def with_rule(rule: str, tag: str = "") -> LabelPolicy:
    """The policy with a rule for category B, and attributes for its tag."""
    text = SPIF.replace('<tagCategory name="B" lacv="2"/>', f'<tagCategory name="B" lacv="2"{rule}</tagCategory>')
    return spif.read(text.replace('tagType="enumerated"', f'tagType="enumerated" {tag}').encode())


ALL = REFERENCE.replace('lacv="1"', 'all="true"')
GROUP = REFERENCE.replace("excludedCategory", "categoryGroup")
BOTH = GROUP + GROUP.replace("1", "2")


@pytest.mark.parametrize(
    ("rule", "tag", "valid", "invalid"),
    [
        ("><excludedClass>Low</excludedClass>", "", [(2, 2), (1, 1)], [(1, 2)]),
        ("><requiredClass>High</requiredClass>", "", [(2, 2), (1, 1)], [(1, 2)]),
        (' requiredClass="High">', "", [(2, 2)], [(1, 2)]),
        (f">{REFERENCE}", "", [(1, 1), (1, 2)], [(1, 1, 2)]),
        (f">{ALL}", "", [(1, 1), (1, 2)], [(1, 1, 2)]),
        (f'><requiredCategory operation="all">{GROUP}</requiredCategory>', "", [(1, 1), (1, 1, 2)], [(1, 2)]),
        (f'><requiredCategory operation="all">{BOTH}</requiredCategory>', "", [(1, 1, 2)], [(1, 2)]),
        (f'><requiredCategory operation="oneOrMore">{BOTH}</requiredCategory>', "", [(1, 2), (1, 1, 2)], []),
        (f'><requiredCategory operation="onlyOne">{BOTH}</requiredCategory>', "", [(1, 2)], [(1, 1, 2)]),
        (">", 'singleSelection="true"', [(1, 1)], [(1, 1, 2)]),
        (">", 'maxSelection="1"', [(1, 1)], [(1, 1, 2)]),
        (">", 'minSelection="1"', [(1, 1)], [(1,)]),
        (' notAfter="20261122235959Z">', "", [(1, 1)], [(1, 2)]),
        (' notBefore="20261124000000Z">', "", [(1, 1)], [(1, 2)]),
        (' notBefore="20261123000000Z" notAfter="20261123000000Z">', "", [(1, 2)], []),
        (' notBefore="20261101000000Z" notAfter="20261130000000Z">', "", [(1, 2)], []),
        (">", "", [(1,), (2, 1, 2)], [(3,), (None,)]),
    ],
)  # fmt: skip
def test_what_may_stand_together(
    rule: str, tag: str, valid: list[tuple[int, ...]], invalid: list[tuple[int, ...]]
) -> None:
    policy = with_rule(rule, tag)
    for stated in valid:
        assert policy.problems(label(*stated, policy=policy), NOW) == ()
    for stated in invalid:
        found = label(*stated, policy=policy)
        assert policy.problems(found, NOW)
        everything = Clearance("1.2.3", frozenset(range(9)), (Tag("1.2.3.1", TagKind.ENUMERATED, frozenset({1, 2})),))
        assert policy.refusals(found, everything, NOW) == policy.problems(found, NOW)


@pytest.mark.parametrize(
    ("rule", "stated", "told"),
    [
        (">", (3,), "policy Test has no classification 3"),
        (">", (None,), "a label without classification"),
        (f">{REFERENCE}", (1, 1, 2), "B excludes A"),
        ("><excludedClass>Low</excludedClass>", (1, 2), "B excludes Low"),
        ("><requiredClass>High</requiredClass>", (1, 2), "B does not go with Low"),
        (' notAfter="20261122235959Z">', (1, 2), "B is not in force"),
    ],
)
def test_why_something_may_not_stand_is_said_by_names(rule: str, stated: tuple[int, ...], told: str) -> None:
    policy = with_rule(rule)
    assert policy.problems(label(*stated, policy=policy), NOW) == (told,)


def test_what_is_obsolete_is_for_old_labels_only() -> None:
    policy = with_rule(' obsolete="true">')
    old = label(1, 2, policy=policy)
    assert policy.problems(old, NOW) == ()
    assert policy.problems(old, NOW, new=True) == ("B is obsolete",)
    levels = spif.read(changed('lacv="2" hierarchy="2"', 'lacv="2" hierarchy="2" obsolete="true"'))
    assert levels.problems(label(2, policy=levels), NOW, new=True) == ("High is obsolete",)


@pytest.mark.parametrize(
    ("where", "marking", "shown"),
    [
        ('lacv="2" hierarchy="2"', "", "Test High A"),
        ("level", '<markingData phrase="HIGH"><code>pageTop</code></markingData>', "Test High A"),
        ("level", '<markingData phrase="HIGH"><code>pageTopBottom</code></markingData>', "Test HIGH A"),
        ("level", '<markingData phrase="HIGH"/>', "Test HIGH A"),
        ("level", '<markingData xml:lang="fr" phrase="HAUT"/>', "Test High A"),
        ("level", "<markingData><code>noNameDisplay</code></markingData>", "Test A"),
        ("level", '<markingData phrase="OTHER"><code>replacePolicy</code></markingData>', "OTHER High A"),
        ("category", "<markingData><code>suppressClassName</code></markingData>", "Test A"),
        ("category", '<markingData phrase="a"/><markingData phrase="b"/>', "Test High a"),
    ],
)
def test_the_words_for_people(where: str, marking: str, shown: str) -> None:
    places = {
        "level": ('hierarchy="2"/>', f'hierarchy="2">{marking}</securityClassification>'),
        "category": ('name="A" lacv="1"/>', f'name="A" lacv="1">{marking}</tagCategory>'),
    }
    policy = spif.read(changed(*places[where]) if where in places else SPIF.encode())
    assert policy.marking_of(label(2, 1, policy=policy)) == shown


def test_qualifiers_stand_around() -> None:
    qualifiers = "".join(f'<qualifier markingQualifier="{text}" qualifierCode="{code}"/>'
                         for code, text in (("prefix", "("), ("suffix", ")"), ("separator", ", ")))  # fmt: skip
    inside = f'<markingQualifier markingCode="pageBottom">{qualifiers}</markingQualifier>'
    policy = spif.read(changed("</securityCategoryTag>", f"{inside}</securityCategoryTag>"))
    assert policy.marking_of(label(2, 1, 2, policy=policy)) == "Test High (A, B)"
    around = spif.read(changed("</SPIF>", f"{inside}</SPIF>"))
    assert around.marking == Marking(prefix="(", suffix=")", separator=", ")
    assert around.marking_of(label(2, 1, 2, policy=around)) == "(Test, High, A/B)"
    elsewhere = spif.read(changed("</SPIF>", f"{inside.replace('pageBottom', 'pageTop')}</SPIF>"))
    assert elsewhere.marking_of(label(2, policy=elsewhere)) == "Test High"


# --- access ----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R3114-2.2.1.4.2-01")
@pytest.mark.parametrize(
    ("cleared", "access"),
    [
        (("LAW DEPARTMENT USE ONLY",), True),
        (("LAW DEPARTMENT USE ONLY", "HUMAN RESOURCES USE ONLY"), True),
        (("HUMAN RESOURCES USE ONLY",), False),
        (("LAW DEPARTMENT USE",), False),
        (("law department use only",), False),
        ((), False),
    ],
)
def test_texts_have_to_be_the_same_and_all_of_them(cleared: tuple[str, ...], access: bool) -> None:
    """The example of RFC 3114 2.2.3, its categories in a tag set that is named as their type."""
    categories = "".join(
        f'<tagCategory name="{name}" lacv="{i}"/>'
        for i, name in enumerate(("LAW DEPARTMENT USE ONLY", "HUMAN RESOURCES USE ONLY"))
    )
    whirlpool = f"""
        <SPIF><securityPolicyId name="Whirlpool" id="1.2.840.113549.1.9.16.7.3"/><securityClassifications>
        <securityClassification name="WHIRLPOOL CONFIDENTIAL" lacv="8" hierarchy="3"/></securityClassifications>
        <securityCategoryTagSets><securityCategoryTagSet name="Categories" id="1.2.840.113549.1.9.16.7.4">
        <securityCategoryTag name="Categories" tagType="restrictive">{categories}
        </securityCategoryTag></securityCategoryTagSet></securityCategoryTagSets></SPIF>"""
    policy = spif.read(whirlpool.strip().encode())
    text = Tag("1.2.840.113549.1.9.16.7.4", TagKind.TEXT, texts=frozenset({"LAW DEPARTMENT USE ONLY"}))
    stated = ESSSecurityLabel(policy.oid, 8, None, label_files.write_tags([text]))
    held = Tag("1.2.840.113549.1.9.16.7.4", TagKind.TEXT, texts=frozenset(cleared))
    clearance = Clearance(policy.oid, frozenset({6, 7, 8}), (held,))
    assert policy.problems(stated, NOW) == ()
    assert (policy.refusals(stated, clearance, NOW) == ()) is access


@pytest.mark.parametrize(
    ("classification", "numbers", "refused"),
    [
        (1, (), ()),
        (2, (), ("not cleared for High",)),
        (1, (1,), ()),
        (1, (1, 2), ()),
        (1, (2,), ("cleared for none of B",)),
    ],
)
def test_a_clearance_dominates_a_label_or_says_why_not(
    classification: int, numbers: tuple[int, ...], refused: tuple[str, ...]
) -> None:
    policy = spif.read(SPIF.encode())
    tag = Tag("1.2.3.1", TagKind.ENUMERATED_PERMISSIVE, frozenset({1, 77}))  # 77 is nothing, and opens nothing
    clearance = Clearance("1.2.3", frozenset({1, 9}), (tag,))
    assert policy.refusals(label(classification, *numbers, policy=policy), clearance, NOW) == refused


def test_a_clearance_of_another_policy_says_nothing_about_this() -> None:
    policy = spif.read(SPIF.encode())
    with pytest.raises(MalformedMessage, match="a clearance of policy"):
        policy.refusals(label(1, policy=policy), Clearance("1.2.4", frozenset({1})), NOW)


@pytest.mark.parametrize(
    ("encoding", "bits"), [("bitSetAttributes", True), ("securityAttributes", False), (None, False)]
)
def test_an_informative_tag_is_written_as_its_policy_says(encoding: str | None, bits: bool) -> None:
    stated = f'tag7Encoding="{encoding}"' if encoding else ""
    kind = f'tagType="tagType7" {stated} enumType="restrictive"'  # of enumerated tags only
    policy = spif.read(changed('tagType="enumerated" enumType="permissive"', kind))
    [category] = policy.encode(c for c in policy.categories if c.number == 1)
    [tag] = read_tags(category)
    assert (tag.kind, tag.bits, tag.values) == (TagKind.INFORMATIVE, bits, {1})


def test_a_category_nobody_knows_is_for_nobody() -> None:
    policy = spif.read(SPIF.encode())
    known = label(1, 1, policy=policy).security_categories
    for tag in (
        Tag("1.2.3.1", TagKind.ENUMERATED_PERMISSIVE, frozenset({3})),
        Tag("1.2.3.1", TagKind.RESTRICTIVE, frozenset({1})),
        Tag("1.2.3.9", TagKind.PERMISSIVE, frozenset({1})),
        Tag("1.2.3.9", TagKind.TEXT, texts=frozenset({"A"})),
    ):
        stated = ESSSecurityLabel("1.2.3", 1, None, (*known, *label_files.write_tags([tag])))
        (problem,) = policy.problems(stated, NOW)
        assert "policy Test has no" in problem


def test_hostile_labels_are_refused_in_words() -> None:
    policy = spif.read(SPIF.encode())
    for octets in (b"", b"1", b"\x31\x80", b"<label/>", file("food-clearance-all-okay.xml"), b"<?xml"):
        with pytest.raises(DomsecError):
            policy.problems(label_files.read_label(octets), NOW)
