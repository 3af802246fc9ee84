//! The program's side of the engine process: starts it, sends it tasks, and reads what they report.

use super::namespaces::Mode;
use super::process::{ARGUMENT, Answer, OLD_OVERLAY, Request};
use super::spawn::Ended;
use super::task::{Report, Task, TaskError};
use super::wire::{self, Receiver};
use super::work::Instruction;
use crate::engine::EngineError;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// As much of the engine process' standard error as is kept to explain its end, in bytes.
const LAST_WORDS: usize = 4096;

/// An engine process that is expected is started after this, though nobody has asked for a task: then it is there when
/// somebody does.
const UNASKED: Duration = Duration::from_millis(250);

/// How to start the engine process.
#[derive(Debug, Clone)]
pub struct Start {
    /// This program: `/proc/self/exe`, or its path where it is started from another (tests).
    pub program: PathBuf,
    /// A directory of ours, made if it is missing. Nothing is written to it; in the engine process' view it holds
    /// mount points.
    pub place: PathBuf,
    /// `None` is the best mode there is.
    pub only: Option<Mode>,
    /// Mount layers as kernels before Linux 6.5 want them. On such a kernel that is done in any case.
    pub old_overlay: bool,
}

/// A running engine process. When this is dropped, it ends, and with it every task.
#[derive(Debug)]
pub struct Launcher {
    mode: Mode,
    limits: Vec<String>,
    requests: mpsc::UnboundedSender<Outgoing>,
    waiting: Waiting,
    next: std::sync::atomic::AtomicU64,
    /// Ends the task that holds the control socket.
    hang_up: CancellationToken,
    child: Slot,
    /// Told when there is a first task.
    wanted: Arc<Notify>,
}

/// The engine process, once it was started.
type Slot = Arc<tokio::sync::Mutex<Option<Child>>>;

type Outgoing = (Vec<u8>, Vec<OwnedFd>);

/// Who waits for the end of which task. `None` when the engine process has ended: then nobody needs to.
type Waiting = Arc<Mutex<Option<HashMap<u64, oneshot::Sender<String>>>>>;

impl Launcher {
    /// Starts the engine process and waits until it is ready.
    pub async fn start(start: &Start) -> Result<Launcher, EngineError> {
        let child = Slot::default();
        let connected = connect(start, &child).await?;
        let (mode, limits) = (connected.mode, connected.limits.clone());
        Ok(Self::of(mode, limits, child, Arc::default(), async { Ok(connected) }))
    }

    /// Does not wait until the engine process is ready, as it is known how it will be. Tasks wait for it, and fail if it
    /// does not come or runs in another mode. `otherwise` is told that something is not as expected.
    pub(super) fn expect(
        start: Start,
        mode: Mode,
        limits: Vec<String>,
        otherwise: impl FnOnce() + Send + 'static,
    ) -> Launcher {
        let child = Slot::default();
        let (slot, expected) = (child.clone(), limits.clone());
        let wanted = Arc::new(Notify::new());
        let first = wanted.clone();
        let connecting = async move {
            // A build that is cached as a whole has ended by then, and needs no engine process.
            tokio::select! {
                () = first.notified() => {}
                () = tokio::time::sleep(UNASKED) => {}
            }
            let connected = connect(&start, &slot).await;
            if !connected.as_ref().is_ok_and(|it| it.mode == mode && it.limits == expected) {
                otherwise();
            }
            match connected {
                Ok(it) if it.mode != mode => Err(EngineError::new(format!(
                    "it runs as {} now, and no longer as {}; start stagedive again",
                    it.mode.describe(),
                    mode.describe()
                ))),
                connected => connected,
            }
        };
        Self::of(mode, limits, child, wanted, connecting)
    }

    fn of(
        mode: Mode,
        limits: Vec<String>,
        child: Slot,
        wanted: Arc<Notify>,
        connecting: impl Future<Output = Result<Connected, EngineError>> + Send + 'static,
    ) -> Launcher {
        let (requests, outgoing) = mpsc::unbounded_channel();
        let waiting: Waiting = Arc::new(Mutex::new(Some(HashMap::new())));
        let hang_up = CancellationToken::new();
        tokio::spawn(converse(connecting, outgoing, waiting.clone(), hang_up.clone()));
        let next = std::sync::atomic::AtomicU64::new(0);
        Launcher { mode, limits, requests, waiting, next, hang_up, child, wanted }
    }

    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What is not as it would be in Docker, one sentence each.
    pub fn limits(&self) -> &[String] {
        &self.limits
    }

    /// The engine process' id; `None` when it has ended.
    pub async fn pid(&self) -> Option<u32> {
        self.child.lock().await.as_ref().and_then(Child::id)
    }

    /// Starts a task; `descriptors` are what its kind says comes with the message, at most three.
    pub fn task(&self, task: Task, descriptors: Vec<OwnedFd>) -> TaskHandle {
        let id = self.next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (ended, wait_for_end) = oneshot::channel();
        let requests = self.requests.clone();
        let state = match self.submit(id, task, descriptors, ended) {
            Ok(socket) => State::Running { socket, receiver: Receiver::default() },
            Err(message) => State::Last(TaskError::engine(message)),
        };
        TaskHandle { id, state, requests, wait_for_end: Some(wait_for_end), cancelled: false }
    }

    fn submit(
        &self,
        id: u64,
        task: Task,
        descriptors: Vec<OwnedFd>,
        ended: oneshot::Sender<String>,
    ) -> Result<UnixStream, String> {
        let io = |error: io::Error| format!("a socket for the task could not be made: {error}");
        let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(io)?;
        ours.set_nonblocking(true).map_err(io)?;
        let ours = UnixStream::from_std(ours).map_err(io)?;
        let frame = wire::encode(&Request::Start { id, task }).map_err(|error| error.to_string())?;
        if let Some(waiting) = &mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) {
            waiting.insert(id, ended);
        }
        let descriptors = [OwnedFd::from(theirs)].into_iter().chain(descriptors).collect();
        // If the engine process has ended, the task's socket closes here, and its handle tells.
        let _ = self.requests.send((frame, descriptors));
        self.wanted.notify_one();
        Ok(ours)
    }

    /// Ends the engine process and every task, and waits until nothing of them is left.
    pub async fn stop(self) {
        self.hang_up.cancel();
        if let Some(child) = self.child.lock().await.as_mut() {
            let _ = child.wait().await;
        }
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        self.hang_up.cancel();
    }
}

/// An engine process that is ready.
struct Connected {
    mode: Mode,
    limits: Vec<String>,
    control: UnixStream,
    receiver: Receiver,
    last_words: LastWords,
}

enum Started {
    Ready(Connected),
    TrySingle(String),
}

/// Starts the engine process and waits until it is ready.
async fn connect(start: &Start, slot: &Slot) -> Result<Connected, EngineError> {
    let place = &start.place;
    tokio::fs::create_dir_all(place).await.map_err(|error| {
        EngineError::new(format!("{} could not be made: {error}", place.display()))
            .with_help("Give a directory for the store that can be written: `--root DIR`.")
    })?;
    let mut only = start.only;
    let mut reasons = Vec::new();
    loop {
        match connect_once(start, only, slot).await? {
            Started::Ready(mut connected) => {
                reasons.append(&mut connected.limits);
                return Ok(Connected { limits: reasons, ..connected });
            }
            Started::TrySingle(why) if only.is_none() => {
                reasons.push(why);
                only = Some(Mode::Single);
            }
            Started::TrySingle(why) => return Err(EngineError::new(why)),
        }
    }
}

async fn connect_once(start: &Start, only: Option<Mode>, slot: &Slot) -> Result<Started, EngineError> {
    let io = |error: io::Error| EngineError::new(format!("the engine process could not be started: {error}"));
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(io)?;
    ours.set_nonblocking(true).map_err(io)?;
    let ours = UnixStream::from_std(ours).map_err(io)?;
    let only = only.map_or("", Mode::name);
    let overlay = if start.old_overlay { OLD_OVERLAY } else { "" };
    let started = Command::new(&start.program)
        .args([ARGUMENT.as_ref(), start.place.as_os_str(), only.as_ref(), overlay.as_ref()])
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(io)?;
    let mut place = slot.lock().await;
    let child = place.insert(started);
    let last_words = LastWords::default();
    if let Some(stderr) = child.stderr.take() {
        tokio::spawn(last_words.clone().listen(stderr));
    }
    let mut receiver = Receiver::default();
    let (mode, limits) = match receiver.next::<Answer>(&ours).await {
        Ok(Some((Answer::Ready { mode, limits }, _))) => (mode, limits),
        Ok(Some((Answer::TrySingle { why }, _))) => return Ok(Started::TrySingle(why)),
        Ok(Some((Answer::Unable(error), _))) => return Err(error.into()),
        other => {
            // Its standard error ends with it.
            let status = child.wait().await.map(|status| status.to_string()).unwrap_or_default();
            let why = other.err().map(|error| format!(": {error}")).unwrap_or_default();
            return Err(EngineError::new(format!(
                "the engine process did not start ({status}){why}{}",
                last_words.quote()
            )));
        }
    };
    Ok(Started::Ready(Connected { mode, limits, control: ours, receiver, last_words }))
}

/// Waits for the engine process, carries requests to it and answers back, until either side hangs up.
async fn converse(
    connecting: impl Future<Output = Result<Connected, EngineError>>,
    outgoing: mpsc::UnboundedReceiver<Outgoing>,
    waiting: Waiting,
    hang_up: CancellationToken,
) {
    let connected = tokio::select! {
        () = hang_up.cancelled() => Err(EngineError::new("the engine process has ended")),
        connected = connecting => connected,
    };
    let message = match connected {
        Ok(connected) => carry(connected, outgoing, &waiting, &hang_up).await,
        Err(error) => error.message,
    };
    let waiters = waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
    for waiter in waiters.unwrap_or_default().into_values() {
        let _ = waiter.send(message.clone());
    }
}

/// Answers with why it has ended.
async fn carry(
    connected: Connected,
    mut outgoing: mpsc::UnboundedReceiver<Outgoing>,
    waiting: &Waiting,
    hang_up: &CancellationToken,
) -> String {
    let Connected { control, mut receiver, last_words, .. } = connected;
    let sending = async {
        while let Some((frame, descriptors)) = outgoing.recv().await {
            let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
            if wire::send_async(&control, &frame, &descriptors).await.is_err() {
                break;
            }
        }
        // The receiving half will see that it has ended.
        std::future::pending::<()>().await;
    };
    let receiving = async {
        while let Ok(Some((answer, _))) = receiver.next::<Answer>(&control).await {
            let Answer::Ended { id, how } = answer else { continue };
            let waiter = match &mut *waiting.lock().unwrap_or_else(PoisonError::into_inner) {
                Some(waiting) => waiting.remove(&id),
                None => None,
            };
            if let Some(waiter) = waiter {
                let _ = waiter.send(describe(how, &last_words));
            }
        }
    };
    tokio::select! {
        () = hang_up.cancelled() => {}
        () = sending => {}
        () = receiving => {}
    }
    format!("the engine process has ended{}", last_words.quote())
}

fn describe(how: Ended, last_words: &LastWords) -> String {
    match how {
        Ended::Exited(code) => format!("the worker ended with code {code}{}", last_words.quote()),
        Ended::Killed(libc::SIGKILL) => "the worker was killed (is there enough memory?)".to_owned(),
        Ended::Killed(signal) => format!("the worker was killed by signal {signal}{}", last_words.quote()),
    }
}

/// A task that runs. Dropping it ends the task.
#[derive(Debug)]
pub struct TaskHandle {
    id: u64,
    state: State,
    requests: mpsc::UnboundedSender<Outgoing>,
    wait_for_end: Option<oneshot::Receiver<String>>,
    cancelled: bool,
}

#[derive(Debug)]
enum State {
    Running {
        socket: UnixStream,
        receiver: Receiver,
    },
    /// This is still to be reported.
    Last(TaskError),
    Over,
}

impl TaskHandle {
    /// The next report and the descriptors that come with it. The last one is `Done` or `Failed`; then there is `None`.
    /// The task waits while nobody asks. When `Failed` is reported, nothing of the task is left.
    ///
    /// It may be dropped before it is ready (in a `select!`), and no report is lost.
    pub async fn next(&mut self) -> Option<(Report, Vec<OwnedFd>)> {
        if let State::Running { socket, receiver } = &mut self.state {
            match receiver.next::<Report>(socket).await {
                Ok(Some((report, descriptors))) => {
                    let over = matches!(report, Report::Done | Report::Failed(_));
                    match report {
                        Report::Failed(error) => self.state = State::Last(error),
                        report => {
                            if over {
                                self.state = State::Over;
                            }
                            return Some((report, descriptors));
                        }
                    }
                }
                Ok(None) => self.state = State::Last(TaskError::engine("")),
                Err(error) => {
                    self.kill();
                    self.state = State::Last(TaskError::engine(error.to_string()));
                }
            }
        }
        if !matches!(self.state, State::Last(_)) {
            return None;
        }
        let how = match &mut self.wait_for_end {
            Some(end) => end.await.unwrap_or_else(|_| "the engine process has ended".to_owned()),
            None => String::new(),
        };
        self.wait_for_end = None;
        match std::mem::replace(&mut self.state, State::Over) {
            State::Last(_) if self.cancelled => Some((Report::Failed(TaskError::engine("cancelled")), Vec::new())),
            State::Last(error) if error.message.is_empty() => {
                Some((Report::Failed(TaskError::engine(format!("The engine failed: {how}."))), Vec::new()))
            }
            State::Last(error) => Some((Report::Failed(error), Vec::new())),
            State::Running { .. } | State::Over => None,
        }
    }

    /// Ends the task. What it had reported can still be read; then comes `Failed`, unless it was done already.
    pub fn cancel(&mut self) {
        self.cancelled = true;
        self.kill();
    }

    /// Sends a signal to the command of a [`Task::Run`].
    pub fn signal(&self, signal: i32) {
        if let (State::Running { socket, .. }, Ok(frame)) = (&self.state, wire::encode(&Instruction { signal })) {
            // The worker reads these at once; one that does not fit is not worth waiting for.
            let _ = socket.try_write(&frame);
        }
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancelled
    }

    fn kill(&self) {
        if let Ok(frame) = wire::encode(&Request::Cancel { id: self.id }) {
            let _ = self.requests.send((frame, Vec::new()));
        }
    }
}

impl Drop for TaskHandle {
    fn drop(&mut self) {
        if !matches!(self.state, State::Over) {
            self.kill();
        }
    }
}

/// The end of what the engine process wrote to standard error, where a panic shows.
#[derive(Debug, Clone, Default)]
struct LastWords(Arc<Mutex<Vec<u8>>>);

impl LastWords {
    async fn listen(self, mut stderr: ChildStderr) {
        let mut buffer = [0; 1024];
        while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.extend_from_slice(&buffer[..count]);
            let surplus = kept.len().saturating_sub(LAST_WORDS);
            kept.drain(..surplus);
        }
    }

    fn quote(&self) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&kept);
        match text.trim() {
            "" => String::new(),
            text => format!("; it said: {text}"),
        }
    }
}

/// The way to this program itself.
pub fn own_program() -> &'static Path {
    Path::new("/proc/self/exe")
}
