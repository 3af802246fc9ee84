//! The hash of a file's content, which comes in pieces and without its holes.

use super::ContentHash;
use twox_hash::XxHash3_128;

#[derive(Default)]
pub struct ContentHasher {
    hash: XxHash3_128,
    /// Bytes so far, holes included.
    end: u64,
}

impl ContentHasher {
    /// The bytes from an offset on, which is not before the last piece's end. What lies between is zeros.
    pub fn take(&mut self, offset: u64, bytes: &[u8]) {
        self.zeros(offset);
        self.hash.write(bytes);
        self.end += bytes.len() as u64;
    }

    /// Of a file of so many bytes.
    pub fn finish(mut self, size: u64) -> ContentHash {
        self.zeros(size);
        ContentHash(self.hash.finish_128())
    }

    fn zeros(&mut self, to: u64) {
        const ZEROS: [u8; 16 << 10] = [0; 16 << 10];
        while self.end < to {
            let some = (to - self.end).min(ZEROS.len() as u64);
            self.hash.write(&ZEROS[..some as usize]);
            self.end += some;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Expects the hash of these pieces of a file to be that of the whole.
    #[track_caller]
    fn check(pieces: &[(u64, &[u8])], whole: &[u8]) {
        let mut hasher = ContentHasher::default();
        pieces.iter().for_each(|(offset, bytes)| hasher.take(*offset, bytes));
        assert_eq!(hasher.finish(whole.len() as u64), ContentHash(XxHash3_128::oneshot(whole)));
    }

    #[test]
    fn holes_are_zeros() {
        check(&[], b"");
        check(&[(0, b"ab"), (2, b"c")], b"abc");
        check(&[(1, b"a"), (3, b"b")], b"\0a\0b\0");
        check(&[], &[0; 40_000]);
        check(&[(30_000, b"x")], &[&[0; 30_000][..], b"x", &[0; 20_000]].concat());
    }
}
