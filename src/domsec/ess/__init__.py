"""Enhanced security services: the values of their attributes, and the receipt (RFC 2634 as changed by RFC 5035).

    receipts    ReceiptRequest, Receipt, ContentIdentifier, ContentReference, MsgSigDigest, ContentHints
    labels      ESSSecurityLabel, EquivalentLabels
    lists       MLExpansionHistory, MLData, MLReceiptPolicy, and how the receipt policies of two lists combine
    names       GeneralName
    places      which attribute may stand where

Types and fields are named as in the ASN.1. `read` takes the octets of one AttributeValue, BER or DER, `write` gives
DER; making a value that its type does not allow raises as reading one does: MalformedMessage, LimitExceeded. What a
value means, and whether to believe it, is for those who have verified the signature. The signing certificate is in
`domsec.cms.attributes`, since no signature is checked without it.
"""
