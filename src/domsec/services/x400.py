"""Messages of X.400: layers that stand in each other without MIME (RFC 3854), and what carries them (RFC 3855).

    received, peel      what X.400 brought, taken apart; `domsec.examine` and `domsec.gate` judge it like mail
    sign, encrypt       one layer around a content
    apply               what `domsec.plan` says, as `domsec.apply` does it in MIME
    content_of          a layer, ready to be carried again
    to_mail, from_mail  the same content in and out of a MIME entity

The name of the originator is the caller's to say: there is no From. Everything is a `Content`, the octets of one X.400
content with what its envelope says of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final

from domsec import oids
from domsec.cms import attributes, content_info, enveloped_data, signed_data
from domsec.cms.attributes import Attribute
from domsec.cms.certificates import Certificate
from domsec.cms.signed_data import Signing
from domsec.ess.receipts import ContentHints
from domsec.limits import DEFAULT, Limits
from domsec.mhs.heading import originator
from domsec.mhs.names import ORAddress, ORName
from domsec.mhs.transport import Content, forwarded, forwarding, received
from domsec.mime import fields, smime, x400_content
from domsec.octets import Octets, in_one_place
from domsec.services import layers
from domsec.services.encrypt import Cipher
from domsec.services.layers import Layer
from domsec.services.layers import peel_content as peel
from domsec.services.sign import Plan, Signer
from domsec.services.signature_type import SignatureType

__all__ = [
    "Content",
    "ORAddress",
    "ORName",
    "apply",
    "content_of",
    "encrypt",
    "forwarded",
    "forwarding",
    "from_mail",
    "originator",
    "peel",
    "received",
    "sign",
    "to_mail",
]

# what RFC 3854 2.4 knows. It does not authenticate: sign first.
ENVELOPED: Final = Cipher("aes256-cbc")
_STRUCTURES: Final = {
    oids.ID_SIGNED_DATA: "signed-data",
    oids.ID_ENVELOPED_DATA: "enveloped-data",
    oids.ID_CT_AUTH_ENVELOPED_DATA: "authEnveloped-data",
    oids.ID_CT_COMPRESSED_DATA: "compressed-data",
}


def content_of(layer: Layer) -> Content:
    """A layer as X.400 carries it: CMS and contents without MIME stay so, what came in MIME stays in MIME."""
    if layer.form != "direct":
        return Content(oids.ID_DATA, in_one_place(layer.entity))
    if layer.kind not in layers.CONTENT_TYPES:
        return Content(layer.content_type, in_one_place(layer.entity))
    return Content(oids.ID_CT_CONTENT_INFO, in_one_place(layers.as_content_info(layer)), layers.smime_type(layer))


def sign(
    content: Content, signers: Sequence[Signing], now: datetime, certificates: Iterable[Certificate] = ()
) -> Content:
    """A content inside a signature, CMS directly so (RFC 3854 3.2, 3.4). Raises as `signed_data.sign`."""
    content_type, octets = _enclosed(content)
    der = signed_data.sign(octets, content_type, signers, certificates=certificates, signing_time=now)
    return Content(oids.ID_CT_CONTENT_INFO, in_one_place(der), _propagated(content, "signed"))


def encrypt(
    content: Content,
    certificates: Iterable[Certificate],
    cipher: Cipher = ENVELOPED,
    *,
    originator: Sequence[Certificate] = (),
) -> Content:
    """A content encrypted to certificates, CMS directly so (RFC 3854 3.3). `originator` is our authority's chain.

    Checks nothing about the certificates: that is what `locate` is for.
    """
    content_type, octets = _enclosed(content)
    der = enveloped_data.encrypt(
        octets,
        tuple(dict.fromkeys(certificates)),
        content_type=content_type,
        cipher=cipher.content,
        key_transport=cipher.key_transport,
        originator_certificates=tuple(originator),
    )
    return Content(oids.ID_CT_CONTENT_INFO, der, _propagated(content, "enveloped"))


def apply(plan: Plan, signer: Signer, now: datetime, *, encrypt: Callable[[Content], Content] | None = None) -> Content:
    """What a plan of section 5 makes, without MIME but for what came in it.

    An unsigned X.400 content stands in the empty signature as it is. That has to call it id-data (RFC 3183 3), so the
    domain signature says in contentHints what it is. Raises ValueError where the plan wants encryption and no `encrypt`
    is given, or the reverse.
    """
    if plan.encrypt != (encrypt is not None):
        raise ValueError("whether to encrypt has to be what the plan says")
    body = content_of(plan.body)
    hints: tuple[Attribute, ...] = ()
    if plan.null:
        body, hints = _unsigned(body)
    announced = (signer.confidentiality,) if signer.confidentiality is not None else ()
    made = sign(body, signer.signings(SignatureType.DOMAIN, hints), now, announced)
    if encrypt is not None:
        made = encrypt(made)
    if plan.outer is not None:
        made = sign(made, signer.signings(None, plan.outer), now)
    return made


def to_mail(content: Content) -> Octets:
    """The MIME entity in which mail carries a content; one that is MIME already is that entity."""
    if content.type == oids.ID_DATA:
        return content.octets
    if content.is_x400:
        return in_one_place(x400_content.write(content))
    structure = _STRUCTURES.get(content_info.parse(content.octets).content_type, "signed-data")
    return in_one_place(smime.pkcs7_mime(content.octets, content.smime_type or structure))


def from_mail(entity: Octets, limits: Limits = DEFAULT) -> Content:
    """The content in a MIME entity: CMS without its wrapper, an X.400 content, or MIME that stays MIME.

    Raises MalformedMessage, LimitExceeded, Unsupported.
    """
    header, body = fields.split_message(entity, limits)
    x400 = x400_content.read(header, body, limits)
    if x400 is not None:
        return x400
    found = smime.recognise_split(header, body, limits, False)
    if not isinstance(found, smime.Pkcs7):
        return Content(oids.ID_DATA, entity)
    content_info.parse(found.der, limits)
    return Content(oids.ID_CT_CONTENT_INFO, found.der, found.smime_type)


def _enclosed(content: Content) -> tuple[str, Octets]:
    """The type and the value that stand in another layer: of CMS, what its ContentInfo holds (RFC 3854 3.4)."""
    if content.type != oids.ID_CT_CONTENT_INFO:
        return content.type, content.octets
    info = content_info.parse(content.octets)
    return info.content_type, info.content


def _propagated(content: Content, service: str) -> str | None:
    """What protects the innermost content, which is what is said outside (RFC 3854 3.4.1)."""
    if content.type == oids.ID_CT_CONTENT_INFO:
        return content.smime_type
    return f"{service}-{'x400' if content.is_x400 else 'data'}"


def _unsigned(content: Content) -> tuple[Content, tuple[Attribute, ...]]:
    """A content in the empty signature, and what the signature around that has to say of it."""
    if content.type == oids.ID_CT_CONTENT_INFO:  # id-data that is CMS is in MIME (decisions A-11)
        content = Content(oids.ID_DATA, to_mail(content), content.smime_type)
    hints: tuple[Attribute, ...] = ()
    if content.is_x400:
        hint = ContentHints(content.type).write()
        hints = (attributes.attribute(oids.ID_AA_CONTENT_HINT, hint),)
    null = in_one_place(signed_data.null_layer(content.octets))
    return Content(oids.ID_CT_CONTENT_INFO, null, content.smime_type or _propagated(content, "signed")), hints
