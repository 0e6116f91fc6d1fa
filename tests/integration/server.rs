//! `oido serve` as a process on a loopback socket: the contract with clients, and the life cycle.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use predicates::prelude::*;
use predicates::str::contains;
use serde_json::{Value, json};

use crate::predict::{lines, scores};
use crate::support::oido;
use crate::tiny;

/// A running `oido serve`, killed when a test fails.
struct Server {
    child: Child,
    address: String,
    agent: ureq::Agent,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Answer {
    status: u16,
    headers: ureq::http::HeaderMap,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect(&self.body)
    }
}

impl Server {
    fn start(args: &[&str], bundle: &Path) -> Self {
        let mut command = Command::new(assert_cmd::cargo::cargo_bin!("oido"));
        command.arg("serve").arg(bundle).args(["--port", "0"]).args(args);
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command.env("RUST_LOG", "warn").stderr(Stdio::piped()).spawn().unwrap();
        let mut talk = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        talk.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("listening on http://").expect(&line).to_owned();
        // Keeps reading, so that a full pipe never stops the server.
        std::thread::spawn(move || talk.read_to_end(&mut Vec::new()));
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(20)))
            .build()
            .new_agent();
        let server = Self { child, address, agent };
        let started = Instant::now();
        while server.get("/ping").status != 200 {
            assert!(started.elapsed() < Duration::from_secs(10), "not ready");
            std::thread::sleep(Duration::from_millis(10));
        }
        server
    }

    fn answer(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
        let mut response = response.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, body: response.body_mut().read_to_string().unwrap() }
    }

    fn get(&self, path: &str) -> Answer {
        Self::answer(self.agent.get(format!("http://{}{path}", self.address)).call())
    }

    fn post(&self, content_type: &str, body: &[u8]) -> Answer {
        let url = format!("http://{}/invocations", self.address);
        Self::answer(self.agent.post(url).header("content-type", content_type).send(body))
    }

    /// Sends raw bytes and reads what comes until the connection ends or 30 s pass.
    fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let _ = stream.write_all(bytes);
        let mut answer = [0; 4096];
        let n = stream.read(&mut answer).unwrap_or(0);
        String::from_utf8_lossy(&answer[..n]).into_owned()
    }

    #[cfg(unix)]
    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    fn exit_code(&mut self) -> Option<i32> {
        let asked = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(asked.elapsed() < Duration::from_secs(10), "does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

struct Fixture {
    _folder: tempfile::TempDir,
    bundle: PathBuf,
    files: Vec<PathBuf>,
    clips: Vec<Vec<u8>>,
}

fn fixture(n: usize) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let bundle = tiny::bundle(folder.path());
    let files = tiny::recordings(&folder.path().join("clips"), n);
    let clips = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    Fixture { _folder: folder, bundle, files, clips }
}

#[test]
fn command_line_server_alone_and_in_a_batch_give_the_same_bits() {
    let f = fixture(32);
    let args = ["predict", "--format", "json", "--top-k", "6"];
    let rows = lines(oido().args(args).arg(&f.bundle).args(&f.files), 0);
    let expected: Vec<Vec<u32>> = rows.iter().map(bits).collect();
    assert!(expected.iter().collect::<std::collections::BTreeSet<_>>().len() > 20);
    let server = Server::start(&[], &f.bundle);
    let parameters = json!({ "top_k": 6 });
    let instances: Vec<Value> = f.clips.iter().map(|clip| json!({ "b64": STANDARD.encode(clip) })).collect();
    let body = json!({ "instances": instances, "parameters": parameters }).to_string();
    let many = server.post("application/json", body.as_bytes());
    assert_eq!(many.status, 200, "{}", many.body);
    let many = many.json();
    assert_eq!(many["predictions"].as_array().unwrap().iter().map(bits).collect::<Vec<_>>(), expected);
    // Alone, and all at once, so that the server makes its own batches.
    std::thread::scope(|scope| {
        for (clip, expected) in f.clips.iter().zip(&expected) {
            let (server, parameters) = (&server, &parameters);
            scope.spawn(move || {
                let body = json!({ "inputs": STANDARD.encode(clip), "parameters": parameters }).to_string();
                assert_eq!(&bits(&server.post("application/json", body.as_bytes()).json()), expected);
                assert_eq!(bits(&server.post("audio/wav", clip).json()), expected[..5]);
            });
        }
    });
}

fn bits(row: &Value) -> Vec<u32> {
    scores(row).iter().map(|score| score.to_bits()).collect()
}

#[test]
fn every_endpoint_and_status() {
    let f = fixture(1);
    let server = Server::start(&["--max-body-mb", "1"], &f.bundle);
    let ping = server.get("/ping");
    assert_eq!((ping.status, ping.body.as_str()), (200, ""));
    assert_eq!(server.get("/v2/health/live").json(), json!({ "live": true }));
    assert_eq!(server.get("/v2/health/ready").json(), json!({ "live": true, "ready": true }));
    let kinds = ["audio/wav", "audio/x-wav", "audio/wave", "audio/flac", "audio/mpeg", "audio/ogg"];
    for kind in kinds.into_iter().chain(["application/octet-stream"]) {
        // Whatever the label, the content is recognised.
        let answer = server.post(kind, &f.clips[0]);
        assert_eq!(answer.status, 200, "{kind}: {}", answer.body);
        assert!(answer.headers.contains_key("x-request-id"));
    }
    let answer = server.post("audio/wav", &f.clips[0]).json();
    for field in ["label", "score", "indeterminate", "best_label", "scores", "seconds", "truncated"] {
        assert!(answer.get(field).is_some(), "{field}: {answer}");
    }
    assert_eq!(answer["scores"].as_array().unwrap().len(), 5);

    let audio = STANDARD.encode(&f.clips[0]);
    let threshold = |t: f64| {
        let body = json!({ "inputs": audio, "parameters": { "threshold": t } }).to_string();
        server.post("application/json", body.as_bytes()).json()
    };
    assert_eq!(
        (&threshold(1.0)["label"], &threshold(1.0)["indeterminate"]),
        (&json!("indeterminate"), &json!(true))
    );
    assert_eq!(threshold(0.0)["label"], answer["best_label"]);

    let cases: Vec<(Answer, u16, &str)> = vec![
        (server.post("text/plain", b"x"), 415, "unsupported_media_type"),
        (server.post("audio/wav", b"not audio"), 422, "undecodable"),
        (server.post("audio/wav", &f.clips[0][..30]), 422, "undecodable"),
        (server.post("audio/wav", b""), 400, "malformed"),
        (server.post("application/json", b"{"), 400, "malformed"),
        (server.post("application/json", "[".repeat(10_000).as_bytes()), 400, "malformed"),
        (server.post("application/json", br#"{"instances": [{"b64": "AAAA"}]}"#), 422, "undecodable"),
        (server.post("audio/wav", &vec![0; 1_000_001]), 413, "too_large"),
        (server.get("/invocations"), 405, "method_not_allowed"),
        (server.get("/models/../../etc/passwd"), 404, "not_found"),
    ];
    for (answer, status, code) in cases {
        let body = answer.json();
        assert_eq!((answer.status, &body["code"]), (status, &json!(code)), "{body}");
        let error = body["error"].as_str().unwrap();
        assert!(!error.contains('/') || code == "unsupported_media_type", "{error}");
        for internal in ["::", "src", "panicked", "Error", "tmp", "u64"] {
            assert!(!error.contains(internal), "{error}");
        }
    }

    let metrics = server.get("/metrics").body;
    for line in [
        "audio_http_requests_total{route=\"/invocations\",method=\"POST\",status=\"422\"} 3",
        "audio_rejected_total{reason=\"too_large\"} 1",
        "audio_rejected_total{reason=\"undecodable\"} 3",
        "audio_panics_total{where=\"inference\"} 0",
        "audio_queue_depth 0",
        "audio_model_info{name=\"tiny\"",
        "audio_inference_duration_seconds_bucket{stage=\"decode\"",
        "audio_predictions_total{label=",
        "process_start_time_seconds",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
}

#[test]
fn oversize_bodies_are_refused_while_they_arrive() {
    let f = fixture(1);
    let server = Server::start(&["--max-body-mb", "1"], &f.bundle);
    let head = "POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: audio/wav\r\n";
    let asked = Instant::now();
    let announced = server.raw(format!("{head}content-length: 1000001\r\n\r\n").as_bytes());
    assert!(announced.starts_with("HTTP/1.1 413"), "{announced}");
    assert!(asked.elapsed() < Duration::from_millis(500), "before the body is sent");
    let expecting = format!("{head}expect: 100-continue\r\ncontent-length: 1000001\r\n\r\n");
    assert!(server.raw(expecting.as_bytes()).starts_with("HTTP/1.1 413"), "without asking for the body");
    // A little over 1 MB in chunks of 6 bytes.
    let chunks =
        format!("{head}transfer-encoding: chunked\r\n\r\n{}0\r\n\r\n", "6\r\nabcdef\r\n".repeat(167_000));
    let chunked = server.raw(chunks.as_bytes());
    assert!(chunked.starts_with("HTTP/1.1 413"), "{chunked}");
    assert_eq!(server.post("audio/wav", &f.clips[0]).status, 200);
}

#[test]
fn a_request_id_of_the_client_comes_back_unless_it_is_hostile() {
    let f = fixture(1);
    let server = Server::start(&[], &f.bundle);
    let id = |sent: &str| {
        let url = format!("http://{}/ping", server.address);
        let answer = Server::answer(server.agent.get(url).header("x-request-id", sent).call());
        answer.headers["x-request-id"].to_str().unwrap().to_owned()
    };
    assert_eq!(id("abc-1.2_3"), "abc-1.2_3");
    assert_ne!(id("a b"), "a b");
    assert_ne!(id(&"x".repeat(65)), "x".repeat(65));
}

#[test]
fn clients_that_leave_take_nothing_with_them() {
    let f = fixture(1);
    let server = Server::start(&["--queue", "4"], &f.bundle);
    let body = &f.clips[0];
    let head = format!(
        "POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: audio/wav\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    for i in 0..200 {
        let mut stream = TcpStream::connect(&server.address).unwrap();
        let all = [head.as_bytes(), body].concat();
        // Some leave within the body, some after it.
        let _ = stream.write_all(&all[..if i % 2 == 0 { all.len() } else { all.len() / 2 }]);
    }
    let asked = Instant::now();
    while !server.get("/metrics").body.contains("audio_queue_depth 0") {
        assert!(asked.elapsed() < Duration::from_secs(5));
        std::thread::sleep(Duration::from_millis(20));
    }
    // Some of those that left may still wait to be accepted: until they are through, there may be 429.
    let mut answered = 0;
    while answered < 8 {
        let status = server.post("audio/wav", body).status;
        assert!([200, 429].contains(&status) && asked.elapsed() < Duration::from_secs(10), "{status}");
        answered = if status == 200 { answered + 1 } else { 0 };
    }
}

#[cfg(unix)]
#[test]
fn sigterm_ends_with_0_and_a_taken_port_or_a_bad_bundle_with_a_reason() {
    let f = fixture(1);
    let mut server = Server::start(&[], &f.bundle);
    let port = server.address.rsplit(':').next().unwrap().to_owned();
    let taken = oido().arg("serve").arg(&f.bundle).args(["--port", &port]).assert().code(2);
    let error = String::from_utf8(taken.get_output().stderr.clone()).unwrap();
    assert!(error.starts_with("error: cannot listen on") && error.lines().count() == 1, "{error}");
    server.signal("TERM");
    assert_eq!(server.exit_code(), Some(0));

    let bad = f.bundle.with_file_name("bad.tar.gz");
    std::fs::write(&bad, "no bundle").unwrap();
    for path in [bad, f.bundle.with_file_name("missing.tar.gz")] {
        let served = oido()
            .env("RUST_LOG", "off")
            .args(["--quiet", "serve", "--port", "0"])
            .arg(path)
            .assert()
            .code(4);
        let error = String::from_utf8(served.get_output().stderr.clone()).unwrap();
        assert!(error.starts_with("error: bundle ") && error.lines().count() == 1, "{error}");
    }
    let many = oido().arg("serve").args([&f.bundle, &f.bundle]).assert().code(2);
    many.stderr(contains("one bundle"));
}

#[test]
fn sagemaker_says_only_serve() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    oido::bundle::pack(&tiny::parts(), &model).unwrap();
    let files = tiny::recordings(folder.path(), 1);
    // A port nobody has: the system's choice of a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new(assert_cmd::cargo::cargo_bin!("oido"));
    command.arg("serve").env("SM_MODEL_DIR", &model).env("SAGEMAKER_BIND_TO_PORT", port.to_string());
    let mut server = Server::spawn(command);
    assert_eq!(server.address, format!("0.0.0.0:{port}"));
    server.address = format!("127.0.0.1:{port}");
    let answer = server.post("audio/wav", &std::fs::read(&files[0]).unwrap());
    assert_eq!(answer.status, 200, "{}", answer.body);
    let none = folder.path().join("none");
    let missing = oido().arg("serve").env("SM_MODEL_DIR", none).assert().code(2);
    missing.stderr(contains("no bundle given").and(contains("oido bundle")));
}
