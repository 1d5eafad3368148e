// Countersignatures by Bouncy Castle: "Countersign PKI IN OUT [name,name...]..." adds to the one signer of IN, for each
// list of names, a countersignature by the first of them, one over that by the second, and so on.
import java.nio.file.*;
import java.security.PrivateKey;
import java.util.*;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cert.jcajce.JcaCertStore;
import org.bouncycastle.cms.*;
import org.bouncycastle.cms.jcajce.*;
import org.bouncycastle.operator.jcajce.*;
import org.bouncycastle.util.CollectionStore;

public class Countersign {
    static SignerInformation under(SignerInformation signer, List<String> names) throws Exception {
        if (names.isEmpty()) return signer;
        PrivateKey key = Oracle.key(names.get(0));
        CMSSignedDataGenerator made = new CMSSignedDataGenerator();
        made.addSignerInfoGenerator(new JcaSignerInfoGeneratorBuilder(new JcaDigestCalculatorProviderBuilder().setProvider("BC").build())
            .build(new JcaContentSignerBuilder("SHA256withECDSA").setProvider("BC").build(key), Oracle.cert(names.get(0))));
        SignerInformation counter = made.generateCounterSigners(signer).getSigners().iterator().next();
        return SignerInformation.addCounterSigners(signer,
            new SignerInformationStore(under(counter, names.subList(1, names.size())))); }

    public static void main(String[] a) throws Exception {
        Oracle.dir = Paths.get(a[0]);
        CMSSignedData signed = new CMSSignedData(Files.readAllBytes(Paths.get(a[1])));
        SignerInformation signer = signed.getSignerInfos().getSigners().iterator().next();
        List<X509CertificateHolder> certificates = new ArrayList<>(signed.getCertificates().getMatches(null));
        for (String chain : Arrays.asList(a).subList(3, a.length)) {
            List<String> names = Arrays.asList(chain.split(","));
            signer = under(signer, names);
            for (String name : names) certificates.add(Oracle.cert(name)); }
        signed = CMSSignedData.replaceSigners(signed, new SignerInformationStore(signer));
        signed = CMSSignedData.replaceCertificatesAndCRLs(signed, new CollectionStore<>(certificates), null, null);
        Files.write(Paths.get(a[2]), signed.toASN1Structure().getEncoded("DER")); } }
