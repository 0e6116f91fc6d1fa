//! `oido train --tensorboard --mlflow`: what follows a run, and what does not stop it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::tones::{Tones, talk};

/// What a server was sent.
#[derive(Debug, Clone)]
struct Call {
    what: String,
    authorization: Option<String>,
    body: Value,
    ok: bool,
}

/// As much of an MLflow server as a client needs, on a loopback port for as long as the test runs.
struct Server {
    url: String,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Server {
    /// `broken` answers of a request, by what is asked for and how many calls came before.
    fn new(broken: fn(&str, usize) -> bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
        let seen = Arc::clone(&calls);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                let _ = answer(stream, &seen, broken);
            }
        });
        Self { url, calls }
    }

    fn calls(&self, what: &str) -> Vec<Call> {
        self.calls.lock().unwrap().iter().filter(|call| call.ok && call.what == what).cloned().collect()
    }

    /// (step, key) of all metrics, in the order they came.
    fn metrics(&self) -> Vec<(u64, String)> {
        let bodies = self.calls("runs/log-batch").into_iter().map(|call| call.body["metrics"].clone());
        let all = bodies.flat_map(|metrics| metrics.as_array().cloned().unwrap_or_default());
        all.map(|m| (m["step"].as_u64().unwrap(), m["key"].as_str().unwrap().to_owned())).collect()
    }
}

fn answer(
    stream: TcpStream,
    calls: &Mutex<Vec<Call>>,
    broken: fn(&str, usize) -> bool,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mut length, mut authorization) = (0, None);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        let Some((name, value)) = header.trim().split_once(':') else { break };
        match name.to_lowercase().as_str() {
            "content-length" => length = value.trim().parse().unwrap(),
            "authorization" => authorization = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let what =
        target.strip_prefix("/api/2.0/mlflow/").unwrap_or_default().split('?').next().unwrap_or_default();
    let mut calls = calls.lock().unwrap();
    let fails = broken(what, calls.iter().filter(|call| call.what == what).count());
    calls.push(Call {
        what: what.to_owned(),
        authorization,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        ok: !fails,
    });
    let last =
        calls.iter().flat_map(|call| call.body["metrics"].as_array().cloned().unwrap_or_default()).last();
    let (status, reply) = match what {
        _ if fails => ("503 Service Unavailable", json!({"message": "the disk is full"})),
        "experiments/get-by-name" => ("404 Not Found", json!({"error_code": "RESOURCE_DOES_NOT_EXIST"})),
        "experiments/create" => ("200 OK", json!({"experiment_id": "7"})),
        "runs/create" => ("200 OK", json!({"run": {"info": {"run_id": "abc"}}})),
        // A 64-bit number comes as a text by the rules of protocol buffers.
        "runs/get" => {
            let step = last.map_or(json!("0"), |metric| json!(metric["step"].to_string()));
            ("200 OK", json!({"run": {"data": {"metrics": [{"key": "lr", "value": 0.1, "step": step}]}}}))
        }
        _ => ("200 OK", json!({})),
    };
    drop(calls);
    let reply = reply.to_string();
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{reply}",
        reply.len()
    )
}

/// The columns of `results.csv`, without the epoch.
fn columns(run: &Path) -> Vec<String> {
    let table = fs::read_to_string(run.join("results.csv")).unwrap();
    table.lines().next().unwrap().split(',').skip(1).map(str::to_owned).collect()
}

fn event_file(run: &Path) -> Vec<u8> {
    let files = fs::read_dir(run).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> =
        files.filter(|path| path.to_string_lossy().contains("events.out.tfevents.")).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    fs::read(&files[0]).unwrap()
}

/// The last byte of each record's step, and its tags, from a strict walk over the lengths.
fn steps(bytes: &[u8]) -> Vec<u8> {
    let (mut at, mut steps) = (0, Vec::new());
    while at < bytes.len() {
        let length = u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize;
        let event = &bytes[at + 12..at + 12 + length];
        // Field 2, the step, stands behind the nine bytes of the time.
        if event[9] == 0x10 {
            steps.push(event[10]);
        }
        at += 16 + length;
    }
    assert_eq!(at, bytes.len());
    steps
}

#[test]
fn a_run_is_followed_and_a_resumed_one_goes_on_where_it_was() {
    let (tones, server) = (Tones::new(), Server::new(|_, _| false));
    let train = |epochs: &str, more: &[&str]| {
        let follow = ["--tensorboard", "--mlflow", server.url.as_str(), "--mlflow-experiment", "tones"];
        let args = Tones::train("run", &["--set", epochs, "--set", "training.patience=0"]);
        let mut command = crate::support::oido();
        command.current_dir(tones.path("")).env("MLFLOW_TRACKING_TOKEN", "s3cret");
        command.args(args).args(follow).args(more).assert().success()
    };
    train("training.epochs=2", &[]);
    let run = tones.path("run");
    assert_eq!(steps(&event_file(&run)), [1, 2]);
    let said = String::from_utf8_lossy(&event_file(&run)).into_owned();
    assert!(columns(&run).iter().all(|column| said.contains(column)), "{:?}", columns(&run));

    let made = server.calls("runs/create");
    assert_eq!((made.len(), &made[0].body["run_name"]), (1, &json!("run")));
    assert_eq!(server.calls("experiments/create")[0].body["name"], "tones");
    assert!(made[0].authorization.as_deref() == Some("Bearer s3cret"));
    let params = server.calls("runs/log-batch")[0].body["params"].clone();
    assert!(
        params.as_array().unwrap().contains(&json!({"key": "training.batch_size", "value": "5"})),
        "{params}"
    );
    let of_epoch = |epoch: u64| columns(&run).into_iter().map(move |column| (epoch, column));
    assert_eq!(server.metrics(), of_epoch(1).chain(of_epoch(2)).collect::<Vec<_>>());
    let ended = server.calls("runs/update");
    assert_eq!((ended.len(), &ended[0].body["status"]), (1, &json!("FINISHED")));

    // Killed in the middle of an event, and prolonged.
    let path = fs::read_dir(&run)
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.to_string_lossy().contains("tfevents"));
    let whole = event_file(&run);
    fs::write(path.unwrap(), &whole[..whole.len() - 30]).unwrap();
    train("training.epochs=3", &["--resume"]);
    assert_eq!(steps(&event_file(&run)), [1, 2, 3]);
    assert_eq!(server.calls("runs/create").len(), 1, "the same run goes on");
    assert_eq!(server.metrics(), (1..=3).flat_map(of_epoch).collect::<Vec<_>>());
    let states: Vec<Value> =
        server.calls("runs/update").iter().map(|call| call.body["status"].clone()).collect();
    assert_eq!(states, ["FINISHED", "RUNNING", "FINISHED"]);
}

#[test]
fn a_broken_server_or_file_costs_one_warning_each_and_no_byte_of_the_run() {
    let tones = Tones::new();
    let epochs = ["--set", "training.epochs=2"];
    tones.ok(&Tones::train("alone", &epochs));
    // The first attempt to send an epoch fails; all come with the next.
    let server = Server::new(|what, before| what == "runs/log-batch" && before == 1);
    let followed =
        tones.ok(&Tones::train("followed", &[&epochs[..], &["--mlflow", server.url.as_str()]].concat()));
    let warnings = |said: &str| said.lines().filter(|line| line.starts_with("warning: ")).count();
    let alone = warnings(&talk(&tones.ok(&Tones::train("again", &epochs))));
    let said = talk(&followed);
    assert!(
        said.contains("is not told: runs/log-batch: status 503, the disk is full; training goes on"),
        "{said}"
    );
    assert_eq!(warnings(&said), alone + 1, "{said}");
    assert!(tones.weights("alone") == tones.weights("followed"));
    let steps: Vec<u64> = server.metrics().into_iter().map(|(step, _)| step).collect();
    let columns = columns(&tones.path("followed")).len();
    assert_eq!(steps, [vec![1; columns], vec![2; columns]].concat());
    // Nobody listens.
    let absent = format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
    let said =
        talk(&tones.ok(&Tones::train("absent", &[&epochs[..], &["--mlflow", absent.as_str()]].concat())));
    assert!(said.contains(&format!("MLflow at {absent} is not told: ")), "{said}");
    assert_eq!(warnings(&said), alone + 1, "{said}");
    assert!(tones.weights("alone") == tones.weights("absent"));
    // An event file that cannot be written.
    fs::create_dir_all(tones.path("blocked/events.out.tfevents.1.x")).unwrap();
    let blocked = [&epochs[..], &["--tensorboard", "--resume"]].concat();
    let said = talk(&tones.ok(&Tones::train("blocked", &blocked)));
    assert!(said.contains("no events for TensorBoard: blocked/events.out.tfevents.1.x: "), "{said}");
    assert_eq!(warnings(&said), alone + 1, "{said}");
    assert!(tones.weights("alone") == tones.weights("blocked"));
    let error = tones.error(4, &Tones::train("no", &["--mlflow", "localhost:5000"]));
    assert!(
        error.contains("--mlflow localhost:5000: is no address of a server; give one as http://"),
        "{error}"
    );
}
