use tokio::sync::mpsc::UnboundedReceiver;

/// A request to stop. The first one drains the server, a second one ends it at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop {
    /// The signal's number, for the exit code of a forced end.
    pub signal: i32,
}

/// Stop requests from SIGTERM and SIGINT. Call it before anything slow, so that a signal during loading counts.
#[cfg(unix)]
pub fn signals() -> std::io::Result<UnboundedReceiver<Stop>> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT])?;
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for signal in signals.forever() {
            if sender.send(Stop { signal }).is_err() {
                break;
            }
        }
    })?;
    Ok(receiver)
}

/// Stop requests; on this system only ending the process stops a server.
#[cfg(not(unix))]
pub fn signals() -> std::io::Result<UnboundedReceiver<Stop>> {
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
    // Kept for ever: a closed channel would read as "nobody can stop this server".
    std::mem::forget(sender);
    Ok(receiver)
}
