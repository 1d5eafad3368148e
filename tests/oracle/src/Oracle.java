// Bouncy Castle oracle for DOMSEC messages: "make" (job lines on stdin), "check" (e-mail files), "bench".
// Own writing; uses only the public Bouncy Castle 1.72 API (Debian libbcprov/libbcpkix/libbcutil/libbcmail-java).
import java.io.*;
import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.nio.file.*;
import java.security.*;
import java.security.cert.*;
import java.util.*;
import javax.mail.internet.*;
import org.bouncycastle.asn1.*;
import org.bouncycastle.asn1.cms.*;
import org.bouncycastle.asn1.pkcs.*;
import org.bouncycastle.asn1.x500.*;
import org.bouncycastle.asn1.x500.style.BCStyle;
import org.bouncycastle.asn1.x509.*;
import org.bouncycastle.cert.*;
import org.bouncycastle.cert.jcajce.*;
import org.bouncycastle.cms.*;
import org.bouncycastle.cms.jcajce.*;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.mail.smime.*;
import org.bouncycastle.openssl.PEMParser;
import org.bouncycastle.openssl.jcajce.JcaPEMKeyConverter;
import org.bouncycastle.asn1.cms.Attribute;
import org.bouncycastle.asn1.cms.AttributeTable;
import org.bouncycastle.asn1.cms.IssuerAndSerialNumber;
import org.bouncycastle.asn1.x509.Extension;
import org.bouncycastle.operator.*;
import org.bouncycastle.operator.jcajce.*;
import org.bouncycastle.util.Store;
import org.bouncycastle.util.encoders.Hex;

public class Oracle {
    static final String ST = "1.2.840.113549.1.9.16.2.28", STI = "1.2.840.113549.1.9.16.9";
    static final Map<String,String> TYPES = new LinkedHashMap<>();
    static { TYPES.put("originatorSig", STI+".1"); TYPES.put("domainSig", STI+".2");
             TYPES.put("addAttribSig", STI+".3"); TYPES.put("reviewSig", STI+".4");
             Security.addProvider(new BouncyCastleProvider()); }
    static Path dir;                                   // PKI directory
    static final String BC = "BC";

    // ---------- PKI loading
    static X509CertificateHolder cert(String n) throws Exception { return pemCert(dir.resolve("certs/"+n+".pem")); }
    static X509CertificateHolder pemCert(Path p) throws Exception {
        try (PEMParser r = new PEMParser(Files.newBufferedReader(p))) { return (X509CertificateHolder) r.readObject(); } }
    static PrivateKey key(String n) throws Exception {
        try (PEMParser r = new PEMParser(Files.newBufferedReader(dir.resolve("keys/"+n+".key")))) {
            return new JcaPEMKeyConverter().setProvider(BC).getPrivateKey((PrivateKeyInfo) r.readObject()); } }
    static X509Certificate jca(X509CertificateHolder h) throws Exception {
        return new JcaX509CertificateConverter().setProvider(BC).getCertificate(h); }

    // ---------- attribute values
    static ASN1Encodable types(String list) {          // "domainSig,reviewSig" -> SEQUENCE OF OID
        ASN1EncodableVector v = new ASN1EncodableVector();
        for (String t : list.split(",")) if (!t.isEmpty()) v.add(new ASN1ObjectIdentifier(TYPES.getOrDefault(t, t)));
        return new DERSequence(v); }
    static ASN1Encodable label(String spec) {          // policy-oid:classification[:privacy mark]
        String[] p = spec.split(":"); ASN1EncodableVector v = new ASN1EncodableVector();
        v.add(new ASN1ObjectIdentifier(p[0])); v.add(new ASN1Integer(Integer.parseInt(p[1])));
        if (p.length > 2) v.add(new DERUTF8String(p[2]));
        return new DERSet(v); }                        // ESSSecurityLabel is a SET: DER orders it
    static ASN1Encodable seq(ASN1Encodable... e) { return new DERSequence(e); }
    static Attribute attr(String oid, ASN1Encodable... vals) { return new Attribute(new ASN1ObjectIdentifier(oid), new DERSet(vals)); }

    // ---------- make: sign
    // signer spec: name|types=..|mode=..|alg=..|seclabel=..|equiv=a;b|mlexp=name@time|receipt=addr|noattr
    static SignerInfoGenerator signer(String spec) throws Exception {
        String[] f = spec.split("\\|"); String name = f[0];
        Map<String,String> o = new HashMap<>();
        for (int i = 1; i < f.length; i++) { int k = f[i].indexOf('='); o.put(k < 0 ? f[i] : f[i].substring(0,k), k < 0 ? "" : f[i].substring(k+1)); }
        PrivateKey k = key(name); X509CertificateHolder c = cert(name);
        String md = o.getOrDefault("md", "SHA256"), alg = k.getAlgorithm().startsWith("Ed") ? "Ed25519"
            : k.getAlgorithm().equals("RSA") ? (o.containsKey("pss") ? md+"withRSAandMGF1" : md+"withRSA") : md+"withECDSA";
        ASN1EncodableVector sa = new ASN1EncodableVector(), ua = new ASN1EncodableVector();
        if (o.containsKey("types")) { ASN1Encodable v = types(o.get("types")); String mode = o.getOrDefault("mode", "");
            switch (mode) {
                case "": sa.add(attr(ST, v)); break;
                case "idsti": sa.add(attr(STI, v)); break;                       // cryptlib's attribute OID
                case "both": sa.add(attr(ST, v)); sa.add(attr(STI, v)); break;   // 2.28 and id-sti side by side
                case "unsigned": ua.add(attr(ST, v)); break;
                case "twoattr": for (String t : o.get("types").split(",")) sa.add(attr(ST, types(t))); break;
                case "sameattr": sa.add(attr(ST, v)); sa.add(attr(ST, v)); break;
                case "twovals": { String[] t = o.get("types").split(","); sa.add(attr(ST, types(t[0]), types(t[1]))); break; }
                case "bareoid": sa.add(attr(ST, new ASN1ObjectIdentifier(TYPES.get(o.get("types"))))); break;
                case "bareoids": { ASN1EncodableVector w = new ASN1EncodableVector();
                    for (String t : o.get("types").split(",")) w.add(new ASN1ObjectIdentifier(TYPES.get(t)));
                    sa.add(new Attribute(new ASN1ObjectIdentifier(ST), new DERSet(w))); break; }
                case "novalue": sa.add(new Attribute(new ASN1ObjectIdentifier(ST), new DERSet())); break;
                default: throw new IllegalArgumentException(mode); } }
        if (o.containsKey("seclabel")) sa.add(attr("1.2.840.113549.1.9.16.2.2", label(o.get("seclabel"))));
        if (o.containsKey("equiv")) { String[] l = o.get("equiv").split(";"); ASN1EncodableVector v = new ASN1EncodableVector();
            for (String x : l) v.add(label(x)); sa.add(attr("1.2.840.113549.1.9.16.2.9", new DERSequence(v))); }
        if (o.containsKey("mlexp")) { String[] p = o.get("mlexp").split("@"); X509CertificateHolder m = cert(p[0]);
            sa.add(attr("1.2.840.113549.1.9.16.2.3", seq(seq(new IssuerAndSerialNumber(m.getIssuer(), m.getSerialNumber()),
                new ASN1GeneralizedTime(p[1]))))); }
        if (o.containsKey("receipt")) sa.add(attr("1.2.840.113549.1.9.16.2.1", seq(new DEROctetString(("id-"+name).getBytes()),
                new DERTaggedObject(false, 0, new ASN1Integer(0)),
                seq(new GeneralNames(new GeneralName(GeneralName.rfc822Name, o.get("receipt")))))));
        ContentSigner cs = new JcaContentSignerBuilder(alg).setProvider(BC).build(k);
        SignerInfoGeneratorBuilder b = new SignerInfoGeneratorBuilder(new JcaDigestCalculatorProviderBuilder().setProvider(BC).build());
        if (o.containsKey("noattr")) b.setDirectSignature(true);
        else b.setSignedAttributeGenerator(new DefaultSignedAttributeTableGenerator(sa.size() > 0 ? new AttributeTable(sa) : null));
        if (ua.size() > 0) b.setUnsignedAttributeGenerator(new SimpleAttributeTableGenerator(new AttributeTable(ua)));
        return o.containsKey("ski") ? b.build(cs, new DEROctetString(SubjectKeyIdentifier.fromExtensions(c.getExtensions()).getKeyIdentifier()).getOctets()) : b.build(cs, c); }

    static byte[] sign(List<String> signers, byte[] content, Map<String,String> o) throws Exception {
        List<X509CertificateHolder> certs = new ArrayList<>();
        if (!o.containsKey("nocerts")) for (String s : signers) certs.add(cert(s.split("\\|")[0]));
        boolean det = o.containsKey("detached");
        ASN1ObjectIdentifier ct = new ASN1ObjectIdentifier(o.getOrDefault("ctype", CMSObjectIdentifiers.data.getId()));
        if ("ber".equals(o.get("enc"))) {               // streamed: indefinite lengths, constructed OCTET STRING
            CMSSignedDataStreamGenerator g = new CMSSignedDataStreamGenerator(); g.setBufferSize(64);
            for (String s : signers) g.addSignerInfoGenerator(signer(s));
            g.addCertificates(new JcaCertStore(certs));
            ByteArrayOutputStream b = new ByteArrayOutputStream();
            try (OutputStream x = g.open(ct, b, !det)) { x.write(content); }
            return b.toByteArray(); }
        CMSSignedDataGenerator g = new CMSSignedDataGenerator();
        for (String s : signers) g.addSignerInfoGenerator(signer(s));
        g.addCertificates(new JcaCertStore(certs));
        CMSSignedData sd = g.generate(new CMSProcessableByteArray(ct, content), !det);
        return sd.getEncoded("bcdefault".equals(o.get("enc")) ? ASN1Encoding.BER : ASN1Encoding.DER); }

    // ---------- make: encrypt; recipient spec name:mode (rsa|oaep|ecdh|x25519)
    static byte[] encrypt(List<String> recips, byte[] content, Map<String,String> o) throws Exception {
        String alg = o.getOrDefault("alg", "aes256cbc");
        boolean gcm = alg.endsWith("gcm");
        ASN1ObjectIdentifier oid = new ASN1ObjectIdentifier(Map.of("aes128cbc", "2.16.840.1.101.3.4.1.2", "aes256cbc", "2.16.840.1.101.3.4.1.42",
            "aes128gcm", "2.16.840.1.101.3.4.1.6", "aes256gcm", "2.16.840.1.101.3.4.1.46", "3des", "1.2.840.113549.3.7").get(alg));
        CMSEnvelopedGenerator g = gcm ? new CMSAuthEnvelopedDataGenerator() : new CMSEnvelopedDataGenerator();
        for (String r : recips) { String[] p = r.split(":"); X509Certificate c = jca(cert(p[0])); String m = p.length > 1 ? p[1] : "rsa";
            switch (m) {
                case "rsa": g.addRecipientInfoGenerator(new JceKeyTransRecipientInfoGenerator(c).setProvider(BC)); break;
                case "oaep": g.addRecipientInfoGenerator(new JceKeyTransRecipientInfoGenerator(c, new JcaAlgorithmParametersConverter()
                    .getAlgorithmIdentifier(PKCSObjectIdentifiers.id_RSAES_OAEP, new javax.crypto.spec.OAEPParameterSpec("SHA-256", "MGF1",
                        new java.security.spec.MGF1ParameterSpec("SHA-256"), javax.crypto.spec.PSource.PSpecified.DEFAULT))).setProvider(BC)); break;
                case "ecdh": { KeyPairGenerator kg = KeyPairGenerator.getInstance("EC", BC); kg.initialize(((java.security.interfaces.ECPublicKey) c.getPublicKey()).getParams()); KeyPair e = kg.generateKeyPair();
                    g.addRecipientInfoGenerator(new JceKeyAgreeRecipientInfoGenerator(CMSAlgorithm.ECDH_SHA256KDF, e.getPrivate(), e.getPublic(), CMSAlgorithm.AES128_WRAP).addRecipient(c).setProvider(BC)); break; }
                case "x25519": g.addRecipientInfoGenerator(X25519.to(cert(p[0]), X25519.HKDF256)); break;
                case "x25519x963": g.addRecipientInfoGenerator(X25519.to(cert(p[0]), X25519.X963)); break;
                default: throw new IllegalArgumentException(m); } }
        if (o.containsKey("originfo"))
            ((CMSEnvelopedGenerator) g).setOriginatorInfo(new OriginatorInfoGenerator(cert(o.get("originfo"))).generate());
        JceCMSContentEncryptorBuilder eb = new JceCMSContentEncryptorBuilder(oid).setProvider(BC);
        if (gcm) return ((CMSAuthEnvelopedDataGenerator) g).generate(new CMSProcessableByteArray(content), (OutputAEADEncryptor) eb.build()).getEncoded();
        if ("ber".equals(o.get("enc"))) {
            CMSEnvelopedDataStreamGenerator s = new CMSEnvelopedDataStreamGenerator(); s.setBufferSize(64);
            s.addRecipientInfoGenerator(new JceKeyTransRecipientInfoGenerator(jca(cert(recips.get(0).split(":")[0]))).setProvider(BC));
            ByteArrayOutputStream b = new ByteArrayOutputStream();
            try (OutputStream x = s.open(b, eb.build())) { x.write(content); }
            return b.toByteArray(); }
        return ((CMSEnvelopedDataGenerator) g).generate(new CMSProcessableByteArray(content), eb.build()).getEncoded(); }

    static void make() throws Exception {               // job line: op TAB key=value TAB ...
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line; (line = in.readLine()) != null; ) {
            if (line.isBlank()) continue;
            String[] f = line.split("\t"); Map<String,String> o = new LinkedHashMap<>(); List<String> who = new ArrayList<>();
            for (int i = 1; i < f.length; i++) { int k = f[i].indexOf('='); String a = k < 0 ? f[i] : f[i].substring(0,k), v = k < 0 ? "" : f[i].substring(k+1);
                if (a.equals("signer") || a.equals("recip")) who.add(v); else o.put(a, v); }
            try {
                byte[] c = Files.readAllBytes(Paths.get(o.get("in"))), r;
                if (f[0].equals("sign")) r = sign(who, c, o); else if (f[0].equals("encrypt")) r = encrypt(who, c, o);
                else throw new IllegalArgumentException(f[0]);
                Files.write(Paths.get(o.get("out")), r); System.out.println("ok");
            } catch (Throwable t) { System.out.println("error " + t); }
            System.out.flush(); } }

    // ---------- check
    static String q(Object s) { StringBuilder b = new StringBuilder("\""); for (char c : String.valueOf(s).toCharArray())
        if (c == '"' || c == '\\') b.append('\\').append(c); else if (c < 32 || c > 126) b.append(String.format("\\u%04x", (int) c)); else b.append(c);
        return b.append('"').toString(); }
    static String obj(Object... kv) { StringBuilder b = new StringBuilder("{"); for (int i = 0; i < kv.length; i += 2) {
        if (i > 0) b.append(", "); b.append(q(kv[i])).append(": ").append(kv[i+1]); } return b.append("}").toString(); }
    static String arr(Collection<String> c) { return "[" + String.join(", ", c) + "]"; }
    static List<String> qs(Collection<String> c) { List<String> l = new ArrayList<>(); for (String s : c) l.add(q(s)); return l; }
    static String sha256(byte[] b) throws Exception { return Hex.toHexString(MessageDigest.getInstance("SHA-256").digest(b)); }

    static List<String> cns(X509CertificateHolder h) { List<String> l = new ArrayList<>();
        for (RDN r : h.getSubject().getRDNs()) for (AttributeTypeAndValue a : r.getTypesAndValues())
            if (a.getType().equals(BCStyle.CN)) l.add(a.getValue().toString()); return l; }
    static List<String> mails(X509CertificateHolder h) { List<String> l = new ArrayList<>();
        GeneralNames g = GeneralNames.fromExtensions(h.getExtensions(), Extension.subjectAlternativeName);
        if (g != null) for (GeneralName n : g.getNames()) if (n.getTagNo() == GeneralName.rfc822Name) l.add(n.getName().toString());
        for (RDN r : h.getSubject().getRDNs()) for (AttributeTypeAndValue a : r.getTypesAndValues())
            if (a.getType().equals(BCStyle.E)) l.add(a.getValue().toString()); return l; }

    static String chain(X509CertificateHolder h, Store<X509CertificateHolder> extra) {
        try { Set<TrustAnchor> ta = new HashSet<>(); List<Object> st = new ArrayList<>();
            try (DirectoryStream<Path> ds = Files.newDirectoryStream(dir.resolve("trust"), "*.pem")) { for (Path p : ds) ta.add(new TrustAnchor(jca(pemCert(p)), null)); }
            for (X509CertificateHolder e : extra.getMatches(null)) st.add(jca(e));
            X509CertSelector sel = new X509CertSelector(); sel.setCertificate(jca(h)); st.add(jca(h));
            boolean crl = Files.isDirectory(dir.resolve("crl")); CertificateFactory cf = CertificateFactory.getInstance("X.509", BC);
            if (crl) try (DirectoryStream<Path> ds = Files.newDirectoryStream(dir.resolve("crl"))) { for (Path p : ds) st.add(cf.generateCRL(new ByteArrayInputStream(Files.readAllBytes(p)))); }
            PKIXBuilderParameters pp = new PKIXBuilderParameters(ta, sel); pp.setRevocationEnabled(crl);
            pp.addCertStore(CertStore.getInstance("Collection", new CollectionCertStoreParameters(st), BC));
            CertPathBuilder.getInstance("PKIX", BC).build(pp);
        } catch (Throwable t) { Throwable c = t; while (c.getCause() != null && c.getCause() != c) c = c.getCause(); return String.valueOf(c.getMessage()); }
        KeyUsage ku = KeyUsage.fromExtensions(h.getExtensions());
        if (ku != null && !ku.hasUsages(KeyUsage.digitalSignature) && !ku.hasUsages(KeyUsage.nonRepudiation)) return "keyUsage does not allow signing";
        ExtendedKeyUsage ek = ExtendedKeyUsage.fromExtensions(h.getExtensions());
        if (ek != null && !ek.hasKeyPurposeId(KeyPurposeId.id_kp_emailProtection) && !ek.hasKeyPurposeId(KeyPurposeId.anyExtendedKeyUsage)) return "extendedKeyUsage does not allow emailProtection";
        return "ok"; }

    static String attrs(AttributeTable t, List<String> st, List<String> stAttr) throws Exception {
        List<String> l = new ArrayList<>(); if (t == null) return "[]";
        ASN1EncodableVector v = t.toASN1EncodableVector();
        for (int i = 0; i < v.size(); i++) { Attribute a = Attribute.getInstance(v.get(i)); List<String> vals = new ArrayList<>();
            String id = a.getAttrType().getId();
            for (ASN1Encodable e : a.getAttributeValues()) { vals.add(q(Hex.toHexString(e.toASN1Primitive().getEncoded("DER"))));
                if (id.equals(ST) || id.equals(STI)) try { for (ASN1Encodable x : ASN1Sequence.getInstance(e)) st.add(ASN1ObjectIdentifier.getInstance(x).getId()); }
                    catch (IllegalArgumentException bad) { st.add("malformed"); } }
            if (id.equals(ST) || id.equals(STI)) stAttr.add(id);
            l.add(obj("oid", q(id), "values", arr(vals))); }
        return arr(l); }

    static void layers(MimePart part, List<String> out) throws Exception {
        if (out.size() > 16) return;
        String ct = part.getContentType() == null ? "text/plain" : part.getContentType(); ContentType pt = new ContentType(ct);
        String base = pt.getBaseType().toLowerCase(), st = String.valueOf(pt.getParameter("smime-type"));
        if (base.equals("multipart/signed")) {
            MimeMultipart mm = (MimeMultipart) part.getContent(); SMIMESigned s = new SMIMESigned(mm, "binary");
            ByteArrayOutputStream b = new ByteArrayOutputStream(); s.getContent().writeTo(b);
            out.add(signed(s, "multipart/signed", st, true, b.toByteArray())); layers(s.getContent(), out);
        } else if (base.matches("application/(x-)?pkcs7-mime")) {
            byte[] der = part.getInputStream().readAllBytes(); cms(der, "application/pkcs7-mime", st, out);
        } else { ByteArrayOutputStream b = new ByteArrayOutputStream(); part.getInputStream().transferTo(b);
            out.add(obj("type", q("content"), "mime", q(base), "body_sha256", q(sha256(b.toByteArray())))); } }

    static void inner(byte[] c, List<String> out) throws Exception { layers(new MimeBodyPart(new ByteArrayInputStream(c)), out); }

    static void cms(byte[] der, String mime, String st, List<String> out) throws Exception {
        org.bouncycastle.asn1.cms.ContentInfo ci = org.bouncycastle.asn1.cms.ContentInfo.getInstance(new ASN1InputStream(der).readObject());
        String oid = ci.getContentType().getId();
        if (oid.equals(CMSObjectIdentifiers.signedData.getId())) {
            CMSSignedData sd = new CMSSignedData(der);
            byte[] c = sd.getSignedContent() == null ? null : (byte[]) sd.getSignedContent().getContent();
            out.add(signed(sd, mime, st, false, c));
            if (c == null) return;
            if (sd.getSignedContentTypeOID().equals(CMSObjectIdentifiers.signedData.getId())) {   // CMS directly inside CMS
                ASN1Primitive p = new ASN1InputStream(c).readObject(); ASN1Sequence q = ASN1Sequence.getInstance(p);
                cms(q.getObjectAt(0) instanceof ASN1ObjectIdentifier ? c : new org.bouncycastle.asn1.cms.ContentInfo(CMSObjectIdentifiers.signedData, p).getEncoded(), "direct", "null", out);
            } else inner(c, out);
        } else if (oid.equals(CMSObjectIdentifiers.envelopedData.getId()) || oid.equals(CMSObjectIdentifiers.authEnvelopedData.getId())) {
            boolean auth = oid.equals(CMSObjectIdentifiers.authEnvelopedData.getId());
            RecipientInformationStore rs; String alg; OriginatorInformation oi;
            if (auth) { CMSAuthEnvelopedData e = new CMSAuthEnvelopedData(der); rs = e.getRecipientInfos(); oi = e.getOriginatorInfo(); alg = "AEAD"; }
            else { CMSEnvelopedData e = new CMSEnvelopedData(der); rs = e.getRecipientInfos(); oi = e.getOriginatorInfo(); alg = e.getEncryptionAlgOID(); }
            byte[] plain = null; String by = "", err = ""; List<String> rl = new ArrayList<>();
            for (RecipientInformation r : rs.getRecipients()) { String who = "unknown", how = r instanceof KeyTransRecipientInformation ? "ktri" : r instanceof KeyAgreeRecipientInformation ? "kari" : "other";
                try (DirectoryStream<Path> ds = Files.newDirectoryStream(dir.resolve("certs"), "*.pem")) { for (Path p : ds) { X509CertificateHolder h = pemCert(p);
                    if (!r.getRID().match(h)) continue; String n = p.getFileName().toString().replace(".pem", ""); who = n;
                    if (plain == null && Files.exists(dir.resolve("keys/"+n+".key"))) try { PrivateKey k = key(n);
                        plain = r.getContent(how.equals("ktri") ? (auth ? new JceKeyTransAuthEnvelopedRecipient(k).setProvider(BC) : new JceKeyTransEnvelopedRecipient(k).setProvider(BC))
                            : k.getAlgorithm().startsWith("X") ? X25519.from(k) : new JceKeyAgreeEnvelopedRecipient(k).setProvider(BC)); by = n; } catch (Throwable t) { err = t.toString(); } } }
                rl.add(obj("kind", q(how), "alg", q(r.getKeyEncryptionAlgOID()), "matches", q(who))); }
            List<String> oc = new ArrayList<>(); if (oi != null) for (Object h : oi.getCertificates().getMatches(null)) oc.add(q(((X509CertificateHolder) h).getSubject()));
            out.add(obj("type", q(auth ? "authEnvelopedData" : "envelopedData"), "mime", q(mime), "smime_type", q(st), "content_alg", q(alg), "recipients", arr(rl),
                "originator_certs", arr(oc), "decrypted_by", q(by), "valid", plain != null, "error", q(err)));
            if (plain != null) inner(plain, out);
        } else out.add(obj("type", q(oid), "mime", q(mime))); }

    static String signed(CMSSignedData s, String mime, String st, boolean detached, byte[] content) throws Exception {
        List<String> sl = new ArrayList<>(); boolean all = s.getSignerInfos().size() > 0;
        Store<X509CertificateHolder> cs = s.getCertificates();
        for (SignerInformation si : s.getSignerInfos().getSigners()) {
            Collection<X509CertificateHolder> m = cs.getMatches(si.getSID()); X509CertificateHolder h = m.isEmpty() ? null : m.iterator().next();
            if (h == null) try (DirectoryStream<Path> ds = Files.newDirectoryStream(dir.resolve("certs"), "*.pem")) { for (Path p : ds) if (si.getSID().match(pemCert(p))) h = pemCert(p); }
            String err = "", chain = "no certificate"; boolean ok = false;
            if (h != null) { try { ok = si.verify(new SignerInformationVerifier(new DefaultCMSSignatureAlgorithmNameGenerator(), new DefaultSignatureAlgorithmIdentifierFinder(),
                    new JcaContentVerifierProviderBuilder().setProvider(BC).build(jca(h).getPublicKey()), new JcaDigestCalculatorProviderBuilder().setProvider(BC).build()));
                } catch (Throwable t) { err = t.toString(); } chain = chain(h, cs); }
            List<String> types = new ArrayList<>(), sa = new ArrayList<>(), ut = new ArrayList<>(), ua = new ArrayList<>();
            String a = attrs(si.getSignedAttributes(), types, sa), u = attrs(si.getUnsignedAttributes(), ut, ua); all &= ok && chain.equals("ok");
            sl.add(obj("subject", q(h == null ? "" : h.getSubject()), "cn", h == null ? "[]" : arr(qs(cns(h))), "emails", h == null ? "[]" : arr(qs(mails(h))),
                "digest_alg", q(si.getDigestAlgOID()), "sig_alg", q(si.getEncryptionAlgOID()), "signature_valid", ok, "chain", q(chain), "error", q(err),
                "signature_types", arr(qs(types)), "signature_type_attrs", arr(qs(sa)), "unsigned_signature_type_attrs", arr(qs(ua)), "signed_attrs", a, "unsigned_attrs", u)); }
        return obj("type", q("signedData"), "mime", q(mime), "smime_type", q(st), "detached", detached, "econtent_type", q(s.getSignedContentTypeOID()),
            "content_sha256", q(content == null ? "" : sha256(content)), "signers", arr(sl), "valid", all); }

    static void check(String[] files) {
        System.out.println("[");
        for (int i = 0; i < files.length; i++) { List<String> l = new ArrayList<>(); String err = "";
            try { layers(new MimeMessage(null, new BufferedInputStream(new FileInputStream(files[i]))), l); } catch (Throwable t) { err = t.toString(); }
            System.out.println(obj("file", q(files[i]), "engine", q("bouncycastle"), "error", q(err), "layers", arr(l)) + (i + 1 < files.length ? "," : "")); }
        System.out.println("]"); }

    // ---------- bench: op, seconds, threads
    interface Op { void go() throws Exception; }
    static double rate(Op op, int threads, double secs) throws Exception {
        for (long end = System.nanoTime() + (long) (2e9); System.nanoTime() < end; ) op.go();     // warm-up
        java.util.concurrent.atomic.LongAdder n = new java.util.concurrent.atomic.LongAdder(); long t0 = System.nanoTime(), end = t0 + (long) (secs * 1e9);
        Thread[] ts = new Thread[threads]; for (int i = 0; i < threads; i++) { ts[i] = new Thread(() -> { try { while (System.nanoTime() < end) { op.go(); n.increment(); } } catch (Exception e) { throw new RuntimeException(e); } }); ts[i].start(); }
        for (Thread t : ts) t.join(); return n.sum() / ((System.nanoTime() - t0) / 1e9); }
    static void bench(int size, double secs) throws Exception {
        byte[] c = new byte[size]; new Random(1).nextBytes(c); for (int i = 0; i < c.length; i++) c[i] = (byte) (i % 72 == 71 ? '\n' : 'a' + (c[i] & 15));
        for (String n : new String[]{"acme-dsa", "acme-dsa-ec"}) { PrivateKey k = key(n); X509CertificateHolder h = cert(n); String alg = n.endsWith("ec") ? "SHA256withECDSA" : "SHA256withRSA"; JcaCertStore cs = new JcaCertStore(List.of(h));
            ASN1EncodableVector v = new ASN1EncodableVector(); v.add(attr(ST, types("domainSig"))); AttributeTable at = new AttributeTable(v);
            Op sign = () -> { CMSSignedDataGenerator g = new CMSSignedDataGenerator();
                g.addSignerInfoGenerator(new JcaSimpleSignerInfoGeneratorBuilder().setProvider(BC).setSignedAttributeGenerator(at).build(alg, k, jca(h)));
                g.addCertificates(cs); g.generate(new CMSProcessableByteArray(c), true).getEncoded(); };
            CMSSignedDataGenerator g = new CMSSignedDataGenerator(); g.addSignerInfoGenerator(new JcaSimpleSignerInfoGeneratorBuilder().setProvider(BC).build(alg, k, jca(h))); g.addCertificates(cs);
            byte[] msg = g.generate(new CMSProcessableByteArray(c), true).getEncoded(); X509Certificate jc = jca(h);
            Op ver = () -> { CMSSignedData s = new CMSSignedData(msg); for (SignerInformation si : s.getSignerInfos()) if (!si.verify(new JcaSimpleSignerInfoVerifierBuilder().setProvider(BC).build(jc))) throw new RuntimeException(); };
            for (int t = 1; t <= 2; t++) { System.out.printf("bc sign opaque %s threads=%d %.0f/s%n", alg, t, rate(sign, t, secs)); System.out.printf("bc verify (no chain) %s threads=%d %.0f/s%n", alg, t, rate(ver, t, secs)); } }
        for (String r : new String[]{"bravo-dca:rsa", "bravo-dca:oaep", "bravo-dca-ec:ecdh"}) for (String alg : new String[]{"aes256cbc", "aes256gcm"}) {
            if (r.endsWith("ecdh") && alg.endsWith("gcm")) continue;
            byte[] msg = encrypt(List.of(r), c, Map.of("alg", alg)); PrivateKey k = key(r.split(":")[0]); boolean ec = r.endsWith("ecdh"), gcm = alg.endsWith("gcm");
            Op enc = () -> encrypt(List.of(r), c, Map.of("alg", alg));
            Op dec = () -> { RecipientInformationStore s = gcm ? new CMSAuthEnvelopedData(msg).getRecipientInfos() : new CMSEnvelopedData(msg).getRecipientInfos();
                s.getRecipients().iterator().next().getContent(ec ? new JceKeyAgreeEnvelopedRecipient(k).setProvider(BC) : gcm ? new JceKeyTransAuthEnvelopedRecipient(k).setProvider(BC) : new JceKeyTransEnvelopedRecipient(k).setProvider(BC)); };
            for (int t = 1; t <= 2; t++) { System.out.printf("bc encrypt %s %s threads=%d %.0f/s%n", r.split(":")[1], alg, t, rate(enc, t, secs)); System.out.printf("bc decrypt %s %s threads=%d %.0f/s%n", r.split(":")[1], alg, t, rate(dec, t, secs)); } } }

    public static void main(String[] a) throws Exception {
        dir = Paths.get(a[1]);
        if (a[0].equals("make")) make(); else if (a[0].equals("check")) check(Arrays.copyOfRange(a, 2, a.length));
        else bench(Integer.parseInt(a[2]), Double.parseDouble(a[3])); }
}
