//! How messages cross the sockets between this process, the engine process and its workers.
//!
//! A frame is a length (four bytes, little endian), then that many bytes of postcard. File descriptors travel
//! with the length.

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// The largest frame in bytes: some millions of a layer's entries. What is larger was not written by us.
const LIMIT: usize = 1 << 30;

/// The most descriptors in one message.
const DESCRIPTORS: usize = 4;

const HEADER: usize = 4;

#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    #[error("a message could not be sent or received: {0}")]
    Io(#[from] io::Error),
    #[error("a message could not be read: {0}")]
    Malformed(#[from] postcard::Error),
    #[error("a message of {0} bytes is too large")]
    TooLarge(usize),
}

impl From<Errno> for WireError {
    fn from(errno: Errno) -> WireError {
        WireError::Io(errno.into())
    }
}

/// The bytes of one frame.
pub(crate) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, WireError> {
    let mut frame = postcard::to_extend(value, vec![0; HEADER])?;
    let length = frame.len() - HEADER;
    match u32::try_from(length) {
        Ok(prefix) if length <= LIMIT => frame[..HEADER].copy_from_slice(&prefix.to_le_bytes()),
        _ => return Err(WireError::TooLarge(length)),
    }
    Ok(frame)
}

/// Sends a frame; blocks until the other side has room for it.
pub(crate) fn send<T: Serialize>(
    socket: impl AsFd,
    value: &T,
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), WireError> {
    let frame = encode(value)?;
    let mut rest = &frame[..];
    let mut descriptors = descriptors;
    while !rest.is_empty() {
        match send_some(socket.as_fd(), rest, descriptors) {
            Ok(sent) => {
                rest = &rest[sent..];
                descriptors = &[];
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Receives a frame; blocks until there is one. `None` at the end of the stream.
pub(crate) fn receive<T: DeserializeOwned>(socket: impl AsFd) -> Result<Option<(T, Vec<OwnedFd>)>, WireError> {
    let mut descriptors = Vec::new();
    let mut header = [0; HEADER];
    if !fill(socket.as_fd(), &mut header, &mut descriptors)? {
        return Ok(None);
    }
    let mut body = vec![0; length(header)?];
    if !body.is_empty() && !fill(socket.as_fd(), &mut body, &mut descriptors)? {
        return Err(cut_off());
    }
    Ok(Some((postcard::from_bytes(&body)?, descriptors)))
}

/// As [`send`], for a frame that is encoded already.
pub(crate) async fn send_async(
    stream: &UnixStream,
    frame: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), WireError> {
    let mut rest = frame;
    let mut descriptors = descriptors;
    while !rest.is_empty() {
        let attempt = || Ok(send_some(stream.as_fd(), rest, descriptors)?);
        let sent = stream.async_io(Interest::WRITABLE, attempt).await?;
        rest = &rest[sent..];
        descriptors = &[];
    }
    Ok(())
}

/// Receives frames, and can be dropped between two polls without losing a byte.
#[derive(Debug, Default)]
pub(crate) struct Receiver {
    header: [u8; HEADER],
    body: Vec<u8>,
    /// Bytes of header and body that have come.
    filled: usize,
    descriptors: Vec<OwnedFd>,
}

impl Receiver {
    /// The next frame; `None` at the end of the stream.
    pub(crate) async fn next<T: DeserializeOwned>(
        &mut self,
        stream: &UnixStream,
    ) -> Result<Option<(T, Vec<OwnedFd>)>, WireError> {
        loop {
            if self.filled == HEADER {
                self.body.resize(length(self.header)?, 0);
            }
            if self.filled >= HEADER && self.filled == HEADER + self.body.len() {
                let value = postcard::from_bytes(&self.body)?;
                self.filled = 0;
                self.body = Vec::new();
                return Ok(Some((value, std::mem::take(&mut self.descriptors))));
            }
            let space = match self.filled {
                filled if filled < HEADER => &mut self.header[filled..],
                filled => &mut self.body[filled - HEADER..],
            };
            let descriptors = &mut self.descriptors;
            let attempt = || Ok(receive_some(stream.as_fd(), space, descriptors)?);
            match stream.async_io(Interest::READABLE, attempt).await? {
                0 if self.filled == 0 => return Ok(None),
                0 => return Err(cut_off()),
                count => self.filled += count,
            }
        }
    }
}

fn length(header: [u8; HEADER]) -> Result<usize, WireError> {
    match u32::from_le_bytes(header) as usize {
        length if length <= LIMIT => Ok(length),
        length => Err(WireError::TooLarge(length)),
    }
}

fn cut_off() -> WireError {
    io::Error::from(io::ErrorKind::UnexpectedEof).into()
}

/// Fills the buffer. False if the stream ended before its first byte.
fn fill(socket: BorrowedFd<'_>, buffer: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> Result<bool, WireError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match receive_some(socket, &mut buffer[filled..], descriptors) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(cut_off()),
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(true)
}

fn send_some(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::INVAL);
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL)
}

fn receive_some(socket: BorrowedFd<'_>, buffer: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received =
        rustix::net::recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    Ok(received.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::embedded::task::Report;
    use std::io::{Read, Write};

    fn pair() -> (std::os::unix::net::UnixStream, std::os::unix::net::UnixStream) {
        std::os::unix::net::UnixStream::pair().unwrap()
    }

    #[test]
    fn frames_keep_their_borders_and_their_descriptors() {
        let (ours, theirs) = pair();
        let (mut reader, writer) = std::io::pipe().unwrap();
        send(&ours, &Report::Stdout(b"one".to_vec()), &[]).unwrap();
        send(&ours, &Report::Exit(7), &[writer.as_fd()]).unwrap();
        send(&ours, &Report::Stderr(vec![0; 100_000]), &[]).unwrap();
        drop((ours, writer));

        let (first, none) = receive::<Report>(&theirs).unwrap().unwrap();
        assert!(matches!(first, Report::Stdout(bytes) if bytes == b"one"));
        assert!(none.is_empty());
        let (second, mut with) = receive::<Report>(&theirs).unwrap().unwrap();
        assert!(matches!(second, Report::Exit(7)));
        std::fs::File::from(with.pop().unwrap()).write_all(b"through").unwrap();
        let (third, _) = receive::<Report>(&theirs).unwrap().unwrap();
        assert!(matches!(third, Report::Stderr(bytes) if bytes.len() == 100_000));
        assert!(receive::<Report>(&theirs).unwrap().is_none());
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");
    }

    #[tokio::test]
    async fn a_receiver_that_was_interrupted_goes_on_where_it_was() {
        let (ours, theirs) = pair();
        theirs.set_nonblocking(true).unwrap();
        let theirs = UnixStream::from_std(theirs).unwrap();
        let frame = encode(&Report::Text("in pieces".into())).unwrap();
        let mut receiver = Receiver::default();
        for byte in &frame[..frame.len() - 1] {
            (&ours).write_all(&[*byte]).unwrap();
            let next = receiver.next::<Report>(&theirs);
            let waited = tokio::time::timeout(std::time::Duration::from_millis(1), next).await;
            assert!(waited.is_err(), "the frame is not whole yet");
        }
        (&ours).write_all(&frame[frame.len() - 1..]).unwrap();
        drop(ours);
        let (report, _) = receiver.next::<Report>(&theirs).await.unwrap().unwrap();
        assert!(matches!(report, Report::Text(text) if text == "in pieces"));
        assert!(receiver.next::<Report>(&theirs).await.unwrap().is_none());
    }

    #[test]
    fn wrong_frames_are_errors() {
        for bytes in [&[255, 255, 255, 255][..], &[1, 0], &[1, 0, 0, 0], &[1, 0, 0, 0, 200]] {
            let (ours, theirs) = pair();
            (&ours).write_all(bytes).unwrap();
            drop(ours);
            assert!(receive::<Report>(&theirs).is_err(), "{bytes:?}");
        }
    }
}
