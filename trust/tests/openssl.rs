//! A stranger's tool reads the certificates and speaks with the servers: `openssl`, from Debian's package.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use berth_trust::ca::{Authority, Grant};
use berth_trust::identity::{Identity, Role};
use berth_trust::request::SigningRequest;
use berth_trust::tls::{Clients, LiveCredentials, Protocol};
use common::{Cluster, LIFETIME};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

/// Files that openssl is given.
struct Files {
    directory: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a directory"),
        }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, text).expect("written");
        path
    }

    fn authorities(&self, cluster: &Cluster) -> PathBuf {
        self.write(
            "authorities.pem",
            &cluster.authorities.bundle().expect("a bundle").to_pem(),
        )
    }
}

fn openssl(arguments: &[&str], paths: &[(&str, &Path)]) -> Output {
    let mut command = Command::new("openssl");
    command.args(arguments).stdin(Stdio::null());
    for (option, path) in paths {
        command.args([*option]).arg(path);
    }
    command
        .output()
        .expect("openssl runs; it is in Debian's package openssl")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn certificate_is_read_with_its_identity_names_and_uses() {
    let (cluster, files) = (Cluster::now("home"), Files::new());
    let api = cluster.credentials_for("api/1", &["ecs.home.example", "10.0.0.1", "fd00::1"]);
    let text = said(&openssl(
        &["x509", "-noout", "-text"],
        &[("-in", &files.write("api.pem", &api.to_pem()))],
    ));
    for expected in [
        "Subject: O = home, OU = api, CN = 1",
        "URI:berth://home/api/1, DNS:ecs.home.example, IP Address:10.0.0.1, IP Address:FD00:0:0:0:0:0:0:1",
        "TLS Web Server Authentication",
        "Digital Signature",
        "ecdsa-with-SHA256",
        "X509v3 Authority Key Identifier",
    ] {
        assert!(text.contains(expected), "no {expected:?} in:\n{text}");
    }
    assert!(!text.contains("TLS Web Client Authentication"), "{text}");
    let text = said(&openssl(
        &["x509", "-noout", "-text"],
        &[("-in", &files.authorities(&cluster))],
    ));
    for expected in [
        "O = Berth, OU = ",
        "CN = home",
        "CA:TRUE, pathlen:1",
        "Certificate Sign, CRL Sign",
    ] {
        assert!(text.contains(expected), "no {expected:?} in:\n{text}");
    }
}

#[test]
fn digest_of_the_authority_is_the_one_that_openssl_computes() {
    let (cluster, files) = (Cluster::now("home"), Files::new());
    let key = openssl(&["x509", "-noout", "-pubkey"], &[("-in", &files.authorities(&cluster))]);
    let key = files.write("key.pem", &String::from_utf8(key.stdout).expect("text"));
    let der = files.directory.path().join("key.der");
    openssl(&["pkey", "-pubin", "-outform", "der"], &[("-in", &key), ("-out", &der)]);
    let digest = Command::new("openssl")
        .args(["dgst", "-sha256", "-r"])
        .arg(&der)
        .output()
        .expect("runs");
    let expected = cluster.authorities.bundle().expect("a bundle").authorities()[0].digest();
    assert!(said(&digest).starts_with(&expected.to_string()), "{}", said(&digest));
}

#[test]
fn chain_is_verified_in_every_phase_of_a_rotation_also_with_the_old_authority_alone() {
    let (mut cluster, files) = (Cluster::now("home"), Files::new());
    let old_only = files.write("old.pem", &cluster.authorities.bundle().expect("a bundle").to_pem());
    let verify = |cluster: &Cluster, authorities: &Path| {
        let pem = cluster.credentials("controller/1").to_pem();
        let leaf = files.write("leaf.pem", &pem);
        let arguments = [
            "verify",
            "-x509_strict",
            "-purpose",
            "sslserver",
            "-no-CApath",
            "-no-CAstore",
        ];
        let mut command = Command::new("openssl");
        command
            .args(arguments)
            .arg("-CAfile")
            .arg(authorities)
            .arg("-untrusted")
            .arg(&leaf)
            .arg(&leaf);
        let output = command.output().expect("runs");
        (output.status.success(), said(&output))
    };
    let good = |cluster: &Cluster, old_is_enough: bool| {
        let (is_good, text) = verify(cluster, &files.authorities(cluster));
        assert!(is_good, "{text}");
        let (is_good, text) = verify(cluster, &old_only);
        assert_eq!(is_good, old_is_enough, "{text}");
    };
    good(&cluster, true);
    let next = Authority::create(&"home".parse().expect("an id"), cluster.clock.now()).expect("an authority");
    cluster.authorities = cluster
        .authorities
        .introduce(&next, cluster.clock.now())
        .expect("introduced");
    good(&cluster, true);
    cluster.authorities = cluster.authorities.switch(0).expect("switched");
    good(&cluster, true);
    cluster.authorities = cluster.authorities.retire(0).expect("retired");
    good(&cluster, false);
}

#[test]
fn request_that_openssl_made_is_signed_for_whom_the_signer_decides() {
    let (cluster, files) = (Cluster::now("home"), Files::new());
    let key = files.directory.path().join("key.pem");
    let request = files.directory.path().join("request.pem");
    let arguments = [
        "req",
        "-new",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-subj",
        "/CN=root",
        "-addext",
        "subjectAltName=URI:berth://home/controller/1",
        "-addext",
        "basicConstraints=CA:TRUE",
        "-addext",
        "1.2.3.4=ASN1:NULL",
    ];
    let output = openssl(&arguments, &[("-keyout", &key), ("-out", &request)]);
    assert!(output.status.success(), "{}", said(&output));
    let request = SigningRequest::from_pem(&fs::read_to_string(&request).expect("read")).expect("understood");
    let grant = Grant {
        identity: cluster.identity("operator/anna"),
        names: Vec::new(),
    };
    let signer = cluster.authorities.signer().expect("a signer");
    let chain = signer
        .issue(&request, &grant, cluster.clock.now(), LIFETIME)
        .expect("signed");
    let key = berth_trust::request::HolderKey::from_pem(&fs::read_to_string(&key).expect("read")).expect("a key");
    let credentials = berth_trust::credentials::Credentials::new(key, chain).expect("credentials");
    assert_eq!(credentials.identity(), &grant.identity);
    assert_eq!(
        Identity::of_certificate(&credentials.chain()[0]).expect("one"),
        grant.identity
    );
}

/// Serves a word to everyone who is let in, until the test ends; returns the port.
async fn serve(cluster: &Cluster, clients: Clients) -> String {
    let acceptor = berth_trust::tls::Acceptor::new(
        LiveCredentials::new(&cluster.credentials_for("api/1", &["localhost", "127.0.0.1"])),
        clients,
        Protocol::Http1,
        cluster.clock.clone(),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let mut incoming = acceptor.incoming(listener);
    let address = incoming.local_addr().expect("an address").to_string();
    tokio::spawn(async move {
        loop {
            let mut connection = incoming.accept().await;
            connection.write_all(b"welcome").await.ok();
            connection.shutdown().await.ok();
        }
    });
    address
}

async fn s_client(arguments: &[&str], files: &[(&str, PathBuf)]) -> String {
    let mut command = tokio::process::Command::new("openssl");
    command.arg("s_client").args(arguments).stdin(Stdio::null());
    command.args(["-ign_eof", "-verify_return_error", "-no-CApath", "-no-CAstore"]);
    for (option, path) in files {
        command.arg(option).arg(path);
    }
    said(&command.output().await.expect("openssl runs"))
}

#[tokio::test]
async fn server_lets_openssl_in_and_openssl_trusts_it_by_its_name() {
    let (cluster, files) = (Cluster::now("home"), Files::new());
    let address = serve(&cluster, Clients::Anyone).await;
    let authorities = [("-CAfile", files.authorities(&cluster))];
    let connect = ["-connect", &address, "-verify_hostname"];
    let text = s_client(&[&connect[..], &["localhost"]].concat(), &authorities).await;
    for expected in ["Verify return code: 0 (ok)", "TLSv1.3", "welcome"] {
        assert!(text.contains(expected), "no {expected:?} in:\n{text}");
    }
    let text = s_client(&[&connect[..], &["other.example"]].concat(), &authorities).await;
    assert!(
        text.contains("hostname mismatch") && !text.contains("welcome"),
        "{text}"
    );
    let text = s_client(&["-connect", &address, "-tls1_2"], &authorities).await;
    assert!(
        text.contains("alert protocol version") && !text.contains("welcome"),
        "{text}"
    );
}

#[tokio::test]
async fn server_asks_openssl_for_a_certificate_and_tells_it_why_it_is_refused() {
    let (mut cluster, files) = (Cluster::now("home"), Files::new());
    cluster.removed.add(cluster.identity("agent/gone"), cluster.clock.now());
    let address = serve(&cluster, Clients::Required(cluster.live_trust(), vec![Role::Agent])).await;
    let connect = ["-connect", address.as_str()];
    let mut shown = vec![("-CAfile", files.authorities(&cluster))];
    let text = s_client(&connect, &shown).await;
    assert!(
        text.contains("alert certificate required") && !text.contains("welcome"),
        "{text}"
    );
    for (name, expected) in [
        ("agent/a", "welcome"),
        ("agent/gone", "alert certificate revoked"),
        ("operator/o", "alert access denied"),
    ] {
        let path = files.write("client.pem", &cluster.credentials(name).to_pem());
        shown.truncate(1);
        shown.extend([("-cert", path.clone()), ("-key", path.clone()), ("-cert_chain", path)]);
        let text = s_client(&connect, &shown).await;
        assert!(text.contains(expected), "no {expected:?} for {name} in:\n{text}");
        assert_eq!(text.contains("welcome"), expected == "welcome", "{text}");
    }
    let foreign = Cluster::now("home");
    let path = files.write("client.pem", &foreign.credentials("agent/a").to_pem());
    shown.truncate(1);
    shown.extend([("-cert", path.clone()), ("-key", path)]);
    let text = s_client(&connect, &shown).await;
    assert!(text.contains("alert unknown ca") && !text.contains("welcome"), "{text}");
}
