use std::time::Duration;

/// The bounds of a server. `Default` holds the numbers oido promises.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Requests in the house at once, waiting or running; one more is answered 429. Default 128.
    pub queue: usize,
    /// Most clips given to the network at once. Default 32.
    pub max_batch: usize,
    /// Largest request body in bytes; a larger one is answered 413. Default 25 MB.
    pub max_body_bytes: usize,
    /// Bytes of all bodies being received at once. Default 512 MiB.
    pub max_inflight_bytes: usize,
    /// Most clips in one JSON request. Default 32.
    pub max_instances: usize,
    /// Time from the request's head to its answer, else 503. Default 55 s (SageMaker gives up after 60).
    pub deadline: Duration,
    /// Longest pause while a body arrives. Default 10 s.
    pub body_pause: Duration,
    /// Time for a request's head, also the longest idle time of a kept connection. Default 10 s.
    pub header_timeout: Duration,
    /// Most open connections; further ones wait in the system's queue. Default 1024.
    pub max_connections: usize,
    /// Recordings decoded at once. Default: the number of cores.
    pub decoders: usize,
    /// After a stop signal: time in which connections are still accepted and answered with
    /// `connection: close`, so that nobody is cut off in mid-air. Default 300 ms.
    pub linger: Duration,
    /// Most time for requests in flight after a stop signal. Default 25 s (SageMaker and Kubernetes kill after 30).
    pub drain: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            queue: 128,
            max_batch: 32,
            max_body_bytes: 25_000_000,
            max_inflight_bytes: 512 << 20,
            max_instances: 32,
            deadline: Duration::from_secs(55),
            body_pause: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            max_connections: 1024,
            decoders: std::thread::available_parallelism().map_or(1, usize::from),
            linger: Duration::from_millis(300),
            drain: Duration::from_secs(25),
        }
    }
}
