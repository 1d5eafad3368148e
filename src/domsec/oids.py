"""Every object identifier once, named as in its RFC. Dotted strings; `NAMES` maps them back for people."""

from __future__ import annotations

from typing import Final

# content types: RFC 5652, 5083, 3274, 2634
ID_DATA: Final = "1.2.840.113549.1.7.1"
ID_SIGNED_DATA: Final = "1.2.840.113549.1.7.2"
ID_ENVELOPED_DATA: Final = "1.2.840.113549.1.7.3"
ID_DIGESTED_DATA: Final = "1.2.840.113549.1.7.5"
ID_ENCRYPTED_DATA: Final = "1.2.840.113549.1.7.6"
ID_CT_RECEIPT: Final = "1.2.840.113549.1.9.16.1.1"
ID_CT_AUTH_DATA: Final = "1.2.840.113549.1.9.16.1.2"
ID_CT_CONTENT_INFO: Final = "1.2.840.113549.1.9.16.1.6"
ID_CT_COMPRESSED_DATA: Final = "1.2.840.113549.1.9.16.1.9"
ID_CT_AUTH_ENVELOPED_DATA: Final = "1.2.840.113549.1.9.16.1.23"

# attributes: RFC 5652 11, 8551 2.5, 2634, 5035, 5752, 6211, 7508
ID_CONTENT_TYPE: Final = "1.2.840.113549.1.9.3"
ID_MESSAGE_DIGEST: Final = "1.2.840.113549.1.9.4"
ID_SIGNING_TIME: Final = "1.2.840.113549.1.9.5"
ID_COUNTERSIGNATURE: Final = "1.2.840.113549.1.9.6"
SMIME_CAPABILITIES: Final = "1.2.840.113549.1.9.15"
ID_AA_RECEIPT_REQUEST: Final = "1.2.840.113549.1.9.16.2.1"
ID_AA_SECURITY_LABEL: Final = "1.2.840.113549.1.9.16.2.2"
ID_AA_ML_EXPAND_HISTORY: Final = "1.2.840.113549.1.9.16.2.3"
ID_AA_CONTENT_HINT: Final = "1.2.840.113549.1.9.16.2.4"
ID_AA_MSG_SIG_DIGEST: Final = "1.2.840.113549.1.9.16.2.5"
ID_AA_CONTENT_IDENTIFIER: Final = "1.2.840.113549.1.9.16.2.7"
ID_AA_EQUIVALENT_LABELS: Final = "1.2.840.113549.1.9.16.2.9"
ID_AA_CONTENT_REFERENCE: Final = "1.2.840.113549.1.9.16.2.10"
ID_AA_ENCRYP_KEY_PREF: Final = "1.2.840.113549.1.9.16.2.11"
ID_AA_SIGNING_CERTIFICATE: Final = "1.2.840.113549.1.9.16.2.12"
ID_AA_SIGNATURE_TYPE: Final = "1.2.840.113549.1.9.16.2.28"
ID_AA_SIGNING_CERTIFICATE_V2: Final = "1.2.840.113549.1.9.16.2.47"
ID_AA_MULTIPLE_SIGNATURES: Final = "1.2.840.113549.1.9.16.2.51"
ID_AA_SECURE_HEADER_FIELDS: Final = "1.2.840.113549.1.9.16.2.55"
ID_AA_CMS_ALGORITHM_PROTECT: Final = "1.2.840.113549.1.9.52"

# signature types: RFC 3183 3.1.2. The arc itself was read as the attribute by cryptlib (decisions A-01).
ID_STI: Final = "1.2.840.113549.1.9.16.9"
ID_STI_ORIGINATOR_SIG: Final = "1.2.840.113549.1.9.16.9.1"
ID_STI_DOMAIN_SIG: Final = "1.2.840.113549.1.9.16.9.2"
ID_STI_ADD_ATTRIB_SIG: Final = "1.2.840.113549.1.9.16.9.3"
ID_STI_REVIEW_SIG: Final = "1.2.840.113549.1.9.16.9.4"
ID_STI_DELEGATED_ORIGINATOR_SIG: Final = "1.2.840.113549.1.9.16.9.5"

# digests: RFC 5754
MD5: Final = "1.2.840.113549.2.5"
SHA1: Final = "1.3.14.3.2.26"
SHA224: Final = "2.16.840.1.101.3.4.2.4"
SHA256: Final = "2.16.840.1.101.3.4.2.1"
SHA384: Final = "2.16.840.1.101.3.4.2.2"
SHA512: Final = "2.16.840.1.101.3.4.2.3"

# signatures: RFC 8017, 5758, 8419, 9882
RSA_ENCRYPTION: Final = "1.2.840.113549.1.1.1"
MD5_WITH_RSA: Final = "1.2.840.113549.1.1.4"
SHA1_WITH_RSA: Final = "1.2.840.113549.1.1.5"
SHA256_WITH_RSA: Final = "1.2.840.113549.1.1.11"
SHA384_WITH_RSA: Final = "1.2.840.113549.1.1.12"
SHA512_WITH_RSA: Final = "1.2.840.113549.1.1.13"
SHA224_WITH_RSA: Final = "1.2.840.113549.1.1.14"
RSASSA_PSS: Final = "1.2.840.113549.1.1.10"
MGF1: Final = "1.2.840.113549.1.1.8"
EC_PUBLIC_KEY: Final = "1.2.840.10045.2.1"
ECDSA_WITH_SHA1: Final = "1.2.840.10045.4.1"
ECDSA_WITH_SHA256: Final = "1.2.840.10045.4.3.2"
ECDSA_WITH_SHA384: Final = "1.2.840.10045.4.3.3"
ECDSA_WITH_SHA512: Final = "1.2.840.10045.4.3.4"
ED25519: Final = "1.3.101.112"
ED448: Final = "1.3.101.113"
ID_DSA: Final = "1.2.840.10040.4.1"
DSA_WITH_SHA1: Final = "1.2.840.10040.4.3"
DSA_WITH_SHA256: Final = "2.16.840.1.101.3.4.3.2"
ML_DSA_44: Final = "2.16.840.1.101.3.4.3.17"
ML_DSA_65: Final = "2.16.840.1.101.3.4.3.18"
ML_DSA_87: Final = "2.16.840.1.101.3.4.3.19"
ML_KEM_768: Final = "2.16.840.1.101.3.4.4.2"
ML_KEM_1024: Final = "2.16.840.1.101.3.4.4.3"

# key transport and agreement: RFC 8017, 5753, 8418
RSAES_OAEP: Final = "1.2.840.113549.1.1.7"
P_SPECIFIED: Final = "1.2.840.113549.1.1.9"
X25519: Final = "1.3.101.110"
X448: Final = "1.3.101.111"
SECP256R1: Final = "1.2.840.10045.3.1.7"
SECP384R1: Final = "1.3.132.0.34"
SECP521R1: Final = "1.3.132.0.35"
DH_SINGLE_PASS_STD_SHA1KDF: Final = "1.3.133.16.840.63.0.2"
DH_SINGLE_PASS_STD_SHA224KDF: Final = "1.3.132.1.11.0"
DH_SINGLE_PASS_STD_SHA256KDF: Final = "1.3.132.1.11.1"
DH_SINGLE_PASS_STD_SHA384KDF: Final = "1.3.132.1.11.2"
DH_SINGLE_PASS_STD_SHA512KDF: Final = "1.3.132.1.11.3"
DH_SINGLE_PASS_COFACTOR_DH_SHA1KDF: Final = "1.3.133.16.840.63.0.3"
DH_SINGLE_PASS_COFACTOR_DH_SHA224KDF: Final = "1.3.132.1.14.0"
DH_SINGLE_PASS_COFACTOR_DH_SHA256KDF: Final = "1.3.132.1.14.1"
DH_SINGLE_PASS_COFACTOR_DH_SHA384KDF: Final = "1.3.132.1.14.2"
DH_SINGLE_PASS_COFACTOR_DH_SHA512KDF: Final = "1.3.132.1.14.3"
DH_SINGLE_PASS_STD_HKDF_SHA256: Final = "1.2.840.113549.1.9.16.3.19"
DH_SINGLE_PASS_STD_HKDF_SHA384: Final = "1.2.840.113549.1.9.16.3.20"
DH_SINGLE_PASS_STD_HKDF_SHA512: Final = "1.2.840.113549.1.9.16.3.21"

# key encapsulation: RFC 9629, 9936, 8619
ID_ORI_KEM: Final = "1.2.840.113549.1.9.16.13.3"
ALG_HKDF_WITH_SHA256: Final = "1.2.840.113549.1.9.16.3.28"
ALG_HKDF_WITH_SHA384: Final = "1.2.840.113549.1.9.16.3.29"
ALG_HKDF_WITH_SHA512: Final = "1.2.840.113549.1.9.16.3.30"

# key wrap and content encryption: RFC 3565, 5084
ID_ALG_CMS3DES_WRAP: Final = "1.2.840.113549.1.9.16.3.6"
AES128_WRAP: Final = "2.16.840.1.101.3.4.1.5"
AES192_WRAP: Final = "2.16.840.1.101.3.4.1.25"
AES256_WRAP: Final = "2.16.840.1.101.3.4.1.45"
AES128_CBC: Final = "2.16.840.1.101.3.4.1.2"
AES192_CBC: Final = "2.16.840.1.101.3.4.1.22"
AES256_CBC: Final = "2.16.840.1.101.3.4.1.42"
AES128_GCM: Final = "2.16.840.1.101.3.4.1.6"
AES192_GCM: Final = "2.16.840.1.101.3.4.1.26"
AES256_GCM: Final = "2.16.840.1.101.3.4.1.46"
DES_EDE3_CBC: Final = "1.2.840.113549.3.7"
RC2_CBC: Final = "1.2.840.113549.3.2"

# compression: RFC 3274
ID_ALG_ZLIB_COMPRESS: Final = "1.2.840.113549.1.9.16.3.8"

# names and certificates: RFC 5280, 4519, 2247, 8398
COMMON_NAME: Final = "2.5.4.3"
SERIAL_NUMBER: Final = "2.5.4.5"
COUNTRY_NAME: Final = "2.5.4.6"
LOCALITY_NAME: Final = "2.5.4.7"
STATE_OR_PROVINCE_NAME: Final = "2.5.4.8"
ORGANIZATION_NAME: Final = "2.5.4.10"
ORGANIZATIONAL_UNIT_NAME: Final = "2.5.4.11"
DOMAIN_COMPONENT: Final = "0.9.2342.19200300.100.1.25"
EMAIL_ADDRESS: Final = "1.2.840.113549.1.9.1"
ID_ON_SMTP_UTF8_MAILBOX: Final = "1.3.6.1.5.5.7.8.9"
ID_KP_EMAIL_PROTECTION: Final = "1.3.6.1.5.5.7.3.4"
ANY_EXTENDED_KEY_USAGE: Final = "2.5.29.37.0"


def _names() -> dict[str, str]:
    spelled = {
        "MD5": "md5",
        "SHA1": "sha1",
        "SHA224": "sha224",
        "SHA256": "sha256",
        "SHA384": "sha384",
        "SHA512": "sha512",
    }
    names: dict[str, str] = {}
    for constant, value in globals().items():
        if constant.isupper() and isinstance(value, str) and value[:1].isdigit():
            if constant in spelled:
                names[value] = spelled[constant]
            else:
                first, *rest = constant.lower().split("_")
                names[value] = first + "".join(part.capitalize() for part in rest)
    return names


NAMES: Final[dict[str, str]] = _names()


def name(oid: str) -> str:
    """The RFC's name for an OID, or its dotted form."""
    return NAMES.get(oid, oid)
