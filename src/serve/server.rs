use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio::time::{interval, timeout};

use super::connections::Connections;
use super::{Options, State, Stop, router};
use crate::bundle::{self, Predictor};

/// A server with an open port and no model yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    state: Arc<State>,
}

/// How a server ended.
#[derive(Debug)]
pub enum Stopped {
    /// Asked to, with every request answered.
    Drained,
    /// Asked to, but requests were still running when the time for draining was over.
    Cut,
    /// Asked a second time.
    Forced(Stop),
    /// The model could not be loaded.
    NoModel(bundle::Error),
}

impl Server {
    /// Opens the port. Probes are answered from [`Server::run`] on, with 503 until the model is loaded.
    ///
    /// # Errors
    /// When the address is taken or not ours.
    pub fn bind(host: &str, port: u16, options: Options) -> std::io::Result<Self> {
        let listener = TcpListener::bind((host, port))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, state: State::new(options)? })
    }

    /// The address, with the port the system chose when port 0 was asked for.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// The shared state.
    pub fn state(&self) -> Arc<State> {
        Arc::clone(&self.state)
    }

    /// Loads the model, answers requests, and returns when stopped: the first [`Stop`] makes the server unready,
    /// closes the port and waits for requests in flight; the second ends it at once.
    pub fn run(
        self,
        load: impl FnOnce() -> Result<Predictor, bundle::Error> + Send + 'static,
        stops: UnboundedReceiver<Stop>,
    ) -> std::io::Result<Stopped> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let stopped = runtime.block_on(self.serve(load, stops));
        // A decoder that never returns must not keep the process.
        runtime.shutdown_timeout(Duration::from_millis(100));
        stopped
    }

    async fn serve(
        self,
        load: impl FnOnce() -> Result<Predictor, bundle::Error> + Send + 'static,
        mut stops: UnboundedReceiver<Stop>,
    ) -> std::io::Result<Stopped> {
        let Self { listener, state } = self;
        let options = state.options.clone();
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let connections = Connections::new(listener, router(Arc::clone(&state)), &options);
        let failed = load_in_background(load, Arc::clone(&state))?;
        tokio::select! {
            never = connections.accept() => match never {},
            never = upkeep(&state) => match never {},
            error = failed => return Ok(Stopped::NoModel(error)),
            _ = stops.recv() => {}
        }
        tracing::info!("stopping: not ready any more, finishing requests in flight");
        state.drain();
        let end = Instant::now() + options.drain;
        let drain = async {
            let Err(_) = timeout(options.linger.min(options.drain), connections.accept()).await;
            connections.close(end.saturating_duration_since(Instant::now())).await
        };
        tokio::select! {
            complete = drain => Ok(if complete { Stopped::Drained } else { Stopped::Cut }),
            Some(stop) = stops.recv() => Ok(Stopped::Forced(stop)),
        }
    }
}

/// Loads the model on its own thread, so that neither probes nor signals wait for it. The future ends only when
/// loading failed.
fn load_in_background(
    load: impl FnOnce() -> Result<Predictor, bundle::Error> + Send + 'static,
    state: Arc<State>,
) -> std::io::Result<impl Future<Output = bundle::Error>> {
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new().name("load".to_owned()).spawn(move || {
        let result = load().and_then(|predictor| {
            state.load(predictor).map_err(|source| bundle::Error::Io {
                path: "model thread".into(),
                action: "start",
                source,
            })
        });
        let _ = sender.send(result);
    })?;
    Ok(async move {
        match receiver.await {
            Ok(Ok(())) => {
                tracing::info!("ready");
                std::future::pending().await
            }
            Ok(Err(error)) => error,
            Err(_) => bundle::Error::LoadPanic,
        }
    })
}

/// Folds samples into buckets now and then, so that an unread `/metrics` does not grow.
async fn upkeep(state: &State) -> std::convert::Infallible {
    let mut every = interval(Duration::from_secs(5));
    loop {
        every.tick().await;
        state.metrics.upkeep();
    }
}

#[cfg(test)]
mod tests {
    //! A server on a real socket whose model does what the test says. The contract with a real model is in
    //! `tests/integration/server.rs`.

    use super::*;
    use crate::bundle::testing::{predictor, wav};
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread::JoinHandle;
    use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

    struct Running {
        address: SocketAddr,
        state: Arc<State>,
        stop: UnboundedSender<Stop>,
        end: JoinHandle<Stopped>,
    }

    /// Starts a server whose model calls `before` ahead of each batch.
    fn start(options: Options, mut before: impl FnMut() + Send + 'static) -> Running {
        let server = Server::bind("127.0.0.1", 0, options).unwrap();
        let (address, state) = (server.address().unwrap(), server.state());
        let model = Arc::new(predictor());
        let scoring = Arc::clone(&model);
        let score = Box::new(move |clips: &[crate::bundle::Clip]| {
            before();
            scoring.score(clips)
        });
        state.load_with(model, score).unwrap();
        let (stop, stops) = unbounded_channel();
        // The state has its model already; this load never ends, as one that waits for a disk.
        let end = std::thread::spawn(move || {
            let load = || loop {
                std::thread::park();
            };
            server.run(load, stops).unwrap()
        });
        Running { address, state, stop, end }
    }

    /// Sends raw bytes, reads until the connection closes or 5 s have passed.
    fn raw(address: SocketAddr, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn get(address: SocketAddr, path: &str) -> String {
        raw(address, format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
    }

    fn post(address: SocketAddr) -> String {
        let body = wav(440.0, 0.5);
        let head = format!(
            "POST /invocations HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: audio/wav\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        raw(address, &[head.as_bytes(), &body].concat())
    }

    fn status(answer: &str) -> &str {
        answer.get(9..12).unwrap_or("none")
    }

    #[test]
    fn a_full_house_is_answered_429_at_once_and_probes_still_work() {
        let (gate, wait) = std::sync::mpsc::channel::<()>();
        let running = start(Options { queue: 2, ..Options::default() }, move || wait.recv().unwrap());
        let address = running.address;
        let guests: Vec<_> = (0..2).map(|_| std::thread::spawn(move || post(address))).collect();
        while !get(address, "/metrics").contains("audio_queue_depth 2") {
            std::thread::sleep(Duration::from_millis(5));
        }
        let asked = Instant::now();
        let refused = post(address);
        assert_eq!(status(&refused), "429", "{refused}");
        assert!(
            refused.contains("retry-after: 1") && refused.contains("\"code\":\"queue_full\""),
            "{refused}"
        );
        assert!(asked.elapsed() < Duration::from_millis(500));
        assert_eq!(status(&get(address, "/ping")), "200");
        assert!(get(address, "/metrics").contains("audio_rejected_total{reason=\"queue_full\"} 1"));
        // Both may share a batch, so the second permission may stay unused.
        let _ = (gate.send(()), gate.send(()));
        for guest in guests {
            assert_eq!(status(&guest.join().unwrap()), "200");
        }
        assert_eq!(status(&post_with_gate(&gate, address)), "200", "places are given back");
        running.stop.send(Stop { signal: 15 }).unwrap();
        assert!(matches!(running.end.join().unwrap(), Stopped::Drained));
    }

    fn post_with_gate(gate: &std::sync::mpsc::Sender<()>, address: SocketAddr) -> String {
        let _ = gate.send(());
        post(address)
    }

    #[test]
    fn a_request_that_waits_too_long_is_answered_503() {
        let options = Options { deadline: Duration::from_millis(150), ..Options::default() };
        let running = start(options, || std::thread::sleep(Duration::from_millis(400)));
        let answer = post(running.address);
        assert!(status(&answer) == "503" && answer.contains("\"code\":\"timeout\""), "{answer}");
        running.stop.send(Stop { signal: 15 }).unwrap();
        running.end.join().unwrap();
    }

    #[test]
    fn a_panic_is_500_and_repeated_ones_make_the_server_unready() {
        let running = start(Options::default(), || panic!("injected"));
        for ready in ["200", "200", "503"] {
            let answer = post(running.address);
            assert_eq!(status(&answer), "500", "{answer}");
            assert!(!answer.contains("injected") && answer.contains("x-request-id: "), "{answer}");
            assert_eq!(status(&get(running.address, "/v2/health/ready")), ready);
        }
        assert_eq!(status(&get(running.address, "/v2/health/live")), "200");
        running.stop.send(Stop { signal: 15 }).unwrap();
        running.end.join().unwrap();
    }

    #[test]
    fn a_slow_head_and_a_slow_body_are_ended() {
        let options = Options {
            header_timeout: Duration::from_millis(200),
            body_pause: Duration::from_millis(200),
            ..Options::default()
        };
        let running = start(options, || ());
        let asked = Instant::now();
        assert_eq!(raw(running.address, b"POST /invocations HTT"), "", "no answer to half a head");
        let idle = raw(running.address, b"GET /ping HTTP/1.1\r\nhost: x\r\n\r\n");
        assert_eq!(status(&idle), "200", "an idle connection is closed, its answer is not lost");
        let slow = raw(
            running.address,
            b"POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: audio/wav\r\ncontent-length: 99\r\n\r\nRI",
        );
        assert_eq!(status(&slow), "408", "{slow}");
        assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
        running.stop.send(Stop { signal: 15 }).unwrap();
        running.end.join().unwrap();
    }

    #[test]
    fn stopping_under_load_loses_no_accepted_request() {
        let running = start(Options::default(), || std::thread::sleep(Duration::from_millis(20)));
        let address = running.address;
        let answered = Arc::new(AtomicUsize::new(0));
        let lost = Arc::new(Mutex::new(Vec::new()));
        let body = wav(440.0, 0.5);
        let clients: Vec<_> = (0..8)
            .map(|_| {
                let (answered, lost, body) = (Arc::clone(&answered), Arc::clone(&lost), body.clone());
                std::thread::spawn(move || client(address, &body, &answered, &lost))
            })
            .collect();
        while answered.load(Ordering::Relaxed) < 20 {
            std::thread::sleep(Duration::from_millis(5));
        }
        let idle = TcpStream::connect(address).unwrap();
        running.stop.send(Stop { signal: 15 }).unwrap();
        let asked = Instant::now();
        while running.state.ready() {
            assert!(asked.elapsed() < Duration::from_millis(100));
        }
        assert_eq!(status(&get(address, "/ping")), "503", "unready at once");
        assert_eq!(status(&get(address, "/v2/health/live")), "200", "but alive");
        for client in clients {
            client.join().unwrap();
        }
        assert!(matches!(running.end.join().unwrap(), Stopped::Drained));
        assert!(asked.elapsed() < Duration::from_secs(5), "an idle client does not delay the end");
        assert_eq!(*lost.lock().unwrap(), Vec::<String>::new());
        assert!(TcpStream::connect(address).is_err(), "the port is closed");
        drop(idle);
    }

    /// Requests over one kept connection until the server asks to close it. A request whose first byte of answer
    /// never came is lost.
    fn client(address: SocketAddr, body: &[u8], answered: &AtomicUsize, lost: &Mutex<Vec<String>>) {
        let Ok(mut stream) = TcpStream::connect(address) else { return };
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let head = format!(
            "POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: audio/wav\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        loop {
            let sent = stream.write_all(&[head.as_bytes(), body].concat());
            let answer = sent.map_err(|e| e.to_string()).and_then(|()| read_answer(&mut stream));
            match answer {
                Ok(answer) if status(&answer) == "200" => {
                    answered.fetch_add(1, Ordering::Relaxed);
                    if answer.contains("connection: close") {
                        return;
                    }
                }
                Ok(answer) => return lost.lock().unwrap().push(answer),
                Err(error) => return lost.lock().unwrap().push(error),
            }
        }
    }

    /// One answer: head, and as many bytes as it announces.
    fn read_answer(stream: &mut TcpStream) -> Result<String, String> {
        let mut bytes = Vec::new();
        let mut block = [0; 4096];
        loop {
            let n = stream.read(&mut block).map_err(|e| e.to_string())?;
            if n == 0 {
                return Err(format!("closed after {} bytes", bytes.len()));
            }
            bytes.extend_from_slice(&block[..n]);
            let text = String::from_utf8_lossy(&bytes);
            let Some((head, rest)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if length.is_some_and(|length: usize| rest.len() >= length) {
                return Ok(text.into_owned());
            }
        }
    }

    #[test]
    fn a_second_stop_ends_at_once_and_a_stuck_request_is_cut() {
        let stuck = || std::thread::sleep(Duration::from_secs(20));
        let running = start(Options::default(), stuck);
        let address = running.address;
        std::thread::spawn(move || post(address));
        while !get(address, "/metrics").contains("audio_queue_depth 1") {
            std::thread::sleep(Duration::from_millis(5));
        }
        let asked = Instant::now();
        running.stop.send(Stop { signal: 15 }).unwrap();
        running.stop.send(Stop { signal: 2 }).unwrap();
        assert!(matches!(running.end.join().unwrap(), Stopped::Forced(Stop { signal: 2 })));
        assert!(asked.elapsed() < Duration::from_secs(1));

        let running = start(Options { drain: Duration::from_millis(500), ..Options::default() }, stuck);
        let address = running.address;
        std::thread::spawn(move || post(address));
        while !get(address, "/metrics").contains("audio_queue_depth 1") {
            std::thread::sleep(Duration::from_millis(5));
        }
        let asked = Instant::now();
        running.stop.send(Stop { signal: 15 }).unwrap();
        assert!(matches!(running.end.join().unwrap(), Stopped::Cut));
        assert!(asked.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn while_loading_probes_say_so_and_a_stop_is_obeyed() {
        let server = Server::bind("127.0.0.1", 0, Options::default()).unwrap();
        let address = server.address().unwrap();
        let (stop, stops) = unbounded_channel();
        let load = || loop {
            std::thread::park();
        };
        let end = std::thread::spawn(move || server.run(load, stops).unwrap());
        assert_eq!(status(&get(address, "/ping")), "503");
        assert_eq!(status(&get(address, "/v2/health/live")), "200");
        let answer = post(address);
        assert!(status(&answer) == "503" && answer.contains("\"code\":\"loading\""), "{answer}");
        let asked = Instant::now();
        stop.send(Stop { signal: 15 }).unwrap();
        assert!(matches!(end.join().unwrap(), Stopped::Drained));
        assert!(asked.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn a_model_that_cannot_be_loaded_ends_the_server() {
        let run = |load: fn() -> Result<Predictor, bundle::Error>| {
            let (_stop, stops) = unbounded_channel();
            Server::bind("127.0.0.1", 0, Options::default()).unwrap().run(load, stops).unwrap()
        };
        assert!(matches!(run(|| Err(bundle::Error::NotFinite)), Stopped::NoModel(bundle::Error::NotFinite)));
        assert!(matches!(run(|| panic!("injected")), Stopped::NoModel(bundle::Error::LoadPanic)));
    }

    #[test]
    fn malformed_http_is_refused() {
        let options = Options { header_timeout: Duration::from_millis(300), ..Options::default() };
        let running = start(options, || ());
        let post = "POST /invocations HTTP/1.1\r\nhost: x\r\ncontent-type: audio/wav\r\n";
        let hostile = [
            format!("{post}content-length: 4\r\ncontent-length: 5\r\n\r\nRIFFx"),
            format!("{post}content-length: -1\r\n\r\nRIFF"),
            format!("{post}content-length: 4\r\n folded: x\r\n\r\nRIFF"),
            format!("{post}transfer-encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
            format!("{post}transfer-encoding: chunked\r\n\r\nzz\r\nRIFF\r\n0\r\n\r\n"),
            format!("{post}nul: a\0b\r\n\r\n"),
            format!("{post}{}\r\n", "x: y\r\n".repeat(101)),
            format!("{post}big: {}\r\n\r\n", "x".repeat(100_000)),
            "GET /ping HTTP/3.0\r\n\r\n".to_owned(),
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(),
            "\0\0\0\0\r\n\r\n".to_owned(),
        ];
        for request in hostile {
            let answer = raw(running.address, request.as_bytes());
            let shown: String = request.chars().take(120).collect();
            assert!(answer.is_empty() || status(&answer).starts_with('4'), "{shown:?}: {answer}");
        }
        assert_eq!(status(&get(running.address, "/ping")), "200");
        running.stop.send(Stop { signal: 15 }).unwrap();
        running.end.join().unwrap();
    }
}
