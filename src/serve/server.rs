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
