/* What Bouncy Castle does a second, one thread, warm: bench/peers.py. Arguments: a folder and seconds for each act.

   The folder has signing.key, signing.crt, confidentiality.key, confidentiality.crt (DER) and entity (to be protected). */

import java.io.ByteArrayInputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.PrivateKey;
import java.security.Security;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.MGF1ParameterSpec;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.List;
import javax.crypto.spec.OAEPParameterSpec;
import javax.crypto.spec.PSource;
import org.bouncycastle.asn1.pkcs.PKCSObjectIdentifiers;
import org.bouncycastle.cert.jcajce.JcaCertStore;
import org.bouncycastle.cms.CMSAlgorithm;
import org.bouncycastle.cms.CMSAuthEnvelopedData;
import org.bouncycastle.cms.CMSAuthEnvelopedDataGenerator;
import org.bouncycastle.cms.CMSProcessableByteArray;
import org.bouncycastle.cms.CMSSignedData;
import org.bouncycastle.cms.CMSSignedDataGenerator;
import org.bouncycastle.cms.SignerInformation;
import org.bouncycastle.cms.jcajce.JcaSimpleSignerInfoGeneratorBuilder;
import org.bouncycastle.cms.jcajce.JcaSimpleSignerInfoVerifierBuilder;
import org.bouncycastle.cms.jcajce.JceCMSContentEncryptorBuilder;
import org.bouncycastle.cms.jcajce.JceKeyTransAuthEnvelopedRecipient;
import org.bouncycastle.cms.jcajce.JceKeyTransRecipientInfoGenerator;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.operator.OutputAEADEncryptor;
import org.bouncycastle.operator.jcajce.JcaAlgorithmParametersConverter;

public class Peer {
    interface Act { byte[] run() throws Exception; }

    static final BouncyCastleProvider BC = new BouncyCastleProvider();
    static Path folder;

    static PrivateKey key(String name) throws Exception {
        return KeyFactory.getInstance("RSA", BC).generatePrivate(new PKCS8EncodedKeySpec(read(name + ".key")));
    }

    static X509Certificate certificate(String name) throws Exception {
        var octets = new ByteArrayInputStream(read(name + ".crt"));
        return (X509Certificate) CertificateFactory.getInstance("X.509", BC).generateCertificate(octets);
    }

    static byte[] read(String name) throws Exception {
        return Files.readAllBytes(folder.resolve(name));
    }

    static void measure(String name, Act act, double seconds) throws Exception {
        for (long end = System.nanoTime() + (long) (seconds * 1e9); System.nanoTime() < end; ) act.run();
        long begin = System.nanoTime(), done = 0;
        for (; System.nanoTime() < begin + (long) (seconds * 1e9); done++) act.run();
        System.out.println(name + " " + done / ((System.nanoTime() - begin) / 1e9));
    }

    public static void main(String[] arguments) throws Exception {
        Security.addProvider(BC);
        folder = Path.of(arguments[0]);
        double seconds = Double.parseDouble(arguments[1]);
        byte[] entity = read("entity");
        PrivateKey signing = key("signing"), confidentiality = key("confidentiality");
        X509Certificate signer = certificate("signing"), recipient = certificate("confidentiality");
        var oaep = new JcaAlgorithmParametersConverter().getAlgorithmIdentifier(PKCSObjectIdentifiers.id_RSAES_OAEP,
            new OAEPParameterSpec("SHA-256", "MGF1", MGF1ParameterSpec.SHA256, PSource.PSpecified.DEFAULT));

        Act sign = () -> {
            var generator = new CMSSignedDataGenerator();
            generator.addSignerInfoGenerator(
                new JcaSimpleSignerInfoGeneratorBuilder().setProvider(BC).build("SHA256withRSA", signing, signer));
            generator.addCertificates(new JcaCertStore(List.of(signer)));
            return generator.generate(new CMSProcessableByteArray(entity), true).getEncoded();
        };
        Act encrypt = () -> {
            var generator = new CMSAuthEnvelopedDataGenerator();
            generator.addRecipientInfoGenerator(new JceKeyTransRecipientInfoGenerator(recipient, oaep).setProvider(BC));
            var cipher = new JceCMSContentEncryptorBuilder(CMSAlgorithm.AES256_GCM).setProvider(BC).build();
            return generator.generate(new CMSProcessableByteArray(entity), (OutputAEADEncryptor) cipher).getEncoded();
        };
        byte[] signed = sign.run(), sealed = encrypt.run();
        Act verify = () -> {
            for (SignerInformation each : new CMSSignedData(signed).getSignerInfos())
                if (!each.verify(new JcaSimpleSignerInfoVerifierBuilder().setProvider(BC).build(signer)))
                    throw new IllegalStateException("does not verify");
            return null;
        };
        Act decrypt = () -> new CMSAuthEnvelopedData(sealed).getRecipientInfos().getRecipients().iterator().next()
            .getContent(new JceKeyTransAuthEnvelopedRecipient(confidentiality).setProvider(BC));

        measure("sign", sign, seconds);
        measure("verify", verify, seconds);
        measure("encrypt", encrypt, seconds);
        measure("decrypt", decrypt, seconds);
    }
}
