//! What analysing an image takes, measured beside its floor in the same run: `cargo bench --bench explorer`.
//!
//! The archives are made here. STAGEDIVE_BENCH_SCALE makes them smaller or larger (1 is 2.2 GB uncompressed, of 20
//! layers and 291,000 entries); they are as large as a tenth of the free disk allows. GNU `tar` and `gzip` are the
//! floor; with STAGEDIVE_BENCH_XRAY, the `xray` program of xray-tui is timed as a peer.

use sha2::{Digest as _, Sha256};
use stagedive::image::compression;
use stagedive::image::config::{History, ImageConfig};
use stagedive::image::digest::Digest;
use stagedive::image::export::{self, ImageToWrite, LayerToWrite};
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[path = "screen.rs"]
mod screen;
#[path = "../terminal/mod.rs"]
mod terminal;

fn main() {
    stagedive::engine::embedded::process::main_if_engine();
    let dir = tempfile::tempdir().expect("a directory");
    let scale = scale(dir.path());
    println!("archives of {scale:.2} of their full size in {}", dir.path().display());
    println!("{:<58} {:>11} {:>11} {:>7}", "figure", "measured", "promised", "ratio");
    large(dir.path(), scale);
    whiteouts(dir.path(), scale);
    compressed(dir.path(), scale, Packed::Gzip);
    compressed(dir.path(), scale, Packed::Zstd);
}

fn scale(dir: &Path) -> f64 {
    let wanted = std::env::var("STAGEDIVE_BENCH_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1.0);
    let free = rustix::fs::statvfs(dir).map_or(0, |it| it.f_bavail * it.f_frsize);
    // The layers and the archive of them, at once.
    let most = free as f64 / 10.0 / 2.2e9;
    if wanted < most { wanted } else { most.max(0.01) }
}

/// 2.2 GB, 20 layers, 291,000 entries, as they are.
fn large(dir: &Path, scale: f64) {
    let shape = Shape { layers: 20, files: (14_000.0 * scale) as usize, size: 7_800, overwrites: 5, whiteouts: 10 };
    let image = Image::make(dir, "large", shape, Packed::Plain);
    let docker = image.docker_archive();
    let program = [format!("docker-archive:{}", docker.display())];
    let runs: Vec<Run> = (0..5).map(|_| size(dir, &program)).collect();
    let what = format!("size: {:.1} GB, {} layers, {} entries", image.bytes as f64 / 1e9, 20, image.entries);
    report(&what, fastest(&runs), Duration::from_secs_f64(0.6 * scale));
    report_memory("  anonymous memory", runs.iter().map(|run| run.anonymous).max().unwrap_or(0), 60e6 * scale.max(0.2));
    let listed = image.layers.iter().map(|layer| timed(Command::new("tar").arg("tf").arg(&layer.path))).sum();
    beside("  beside `tar tf` of each layer", fastest(&runs), listed);
    let verified: Vec<Run> = (0..2).map(|_| size(dir, &[program[0].clone(), "--verify".to_owned()])).collect();
    let hashed = image.layers.iter().map(|layer| timed(Command::new("sha256sum").arg(&layer.path))).sum();
    beside("  with --verify, beside `sha256sum` of each layer", fastest(&verified), hashed);
    first_screen(dir, &docker);
    screen::keys(&docker);
    peer(&image, fastest(&runs));
    image.remove(&[docker]);
}

/// 246 MB, 6 layers, 1,000 whiteouts.
fn whiteouts(dir: &Path, scale: f64) {
    let shape = Shape { layers: 6, files: (3_000.0 * scale) as usize, size: 13_600, overwrites: 0, whiteouts: 200 };
    let image = Image::make(dir, "whiteouts", shape, Packed::Plain);
    let docker = image.docker_archive();
    let runs: Vec<Run> = (0..5).map(|_| size(dir, &[format!("docker-archive:{}", docker.display())])).collect();
    let what = format!("size: {:.0} MB, 6 layers, 1,000 whiteouts", image.bytes as f64 / 1e6);
    report(&what, fastest(&runs), Duration::from_millis(300));
    image.remove(&[docker]);
}

/// Layers that have to be decompressed: beside nothing but decompressing them, on as many threads.
fn compressed(dir: &Path, scale: f64, packed: Packed) {
    let name = packed.name();
    let shape = Shape { layers: 4, files: (1_500.0 * scale) as usize, size: 120_000, overwrites: 5, whiteouts: 10 };
    let image = Image::make(dir, name, shape, packed);
    let archive = image.oci_archive();
    let argument = [format!("oci-archive:{}", archive.display())];
    let (mut first, mut own, mut checked) = (Vec::new(), Duration::MAX, Duration::MAX);
    // By turns, so that what else the machine does meets all of them.
    for _ in 0..5 {
        let _ = std::fs::remove_dir_all(dir.join("store"));
        first.push(size(dir, &argument));
        own = own.min(decompress(&image.layers, false));
        checked = checked.min(decompress(&image.layers, true));
    }
    let second: Vec<Run> = (0..3).map(|_| size(dir, &argument)).collect();
    println!("{name} layers: {:.0} MB, {:.0} MB stored", image.bytes as f64 / 1e6, image.stored() as f64 / 1e6);
    let ratio = fastest(&first).as_secs_f64() / own.as_secs_f64() / 1.1;
    let what = format!("size: {name}, beside decompressing on all cores");
    println!("{what:<58} {:>8.0} ms {:>8.0} ms {ratio:>7.2}", millis(fastest(&first)), millis(own) * 1.1);
    report_memory("  anonymous memory", first.iter().map(|run| run.anonymous).max().unwrap_or(0), 60e6);
    // What every reader has to do that does not take a blob's digest on trust.
    beside("  beside decompressing, with the blobs' digests", fastest(&first), checked);
    if let Some(program) = packed.program() {
        let what = format!("  beside `{program} -t`, one process a core");
        match (0..3).map(|_| tested(program, &image.layers)).min().flatten() {
            Some(time) => beside(&what, fastest(&first), time),
            None => println!("{what}: not measured, {program} is not installed"),
        }
    }
    report("  a second time", fastest(&second), Duration::from_millis(200));
    image.remove(&[archive]);
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Packed {
    Plain,
    Gzip,
    Zstd,
}

impl Packed {
    fn name(self) -> &'static str {
        match self {
            Packed::Plain => "plain",
            Packed::Gzip => "gzip",
            Packed::Zstd => "zstd",
        }
    }

    /// What else can unpack it.
    fn program(self) -> Option<&'static str> {
        match self {
            Packed::Plain => None,
            Packed::Gzip | Packed::Zstd => Some(self.name()),
        }
    }
}

#[derive(Clone, Copy)]
struct Shape {
    layers: usize,
    /// Of each layer.
    files: usize,
    /// Bytes of a file, on the average.
    size: usize,
    /// Files of the layer below that a layer writes again, in a hundred.
    overwrites: usize,
    /// Files of the layer below that a layer takes away.
    whiteouts: usize,
}

struct Image {
    dir: PathBuf,
    name: &'static str,
    layers: Vec<LayerToWrite>,
    /// Content.
    bytes: u64,
    entries: usize,
}

impl Image {
    fn make(dir: &Path, name: &'static str, shape: Shape, packed: Packed) -> Image {
        let mut image = Image { dir: dir.to_owned(), name, layers: Vec::new(), bytes: 0, entries: 0 };
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for layer in 0..shape.layers {
            let path = dir.join(format!("{name}-{layer}.tar"));
            let file = BufWriter::with_capacity(1 << 20, File::create(&path).expect("a layer"));
            let diff_id = match packed {
                Packed::Plain => image.layer(layer, shape, &mut random, file),
                Packed::Gzip => image.layer(
                    layer,
                    shape,
                    &mut random,
                    flate2::write::GzEncoder::new(file, flate2::Compression::default()),
                ),
                Packed::Zstd => {
                    let encoder = zstd::Encoder::new(file, 3).expect("an encoder").auto_finish();
                    image.layer(layer, shape, &mut random, encoder)
                }
            };
            image.layers.push(export::layer_of_file(diff_id, &path).expect("a layer"));
        }
        image
    }

    fn layer(&mut self, number: usize, shape: Shape, random: &mut Random, out: impl Write) -> Digest {
        let mut archive = tar::Builder::new(Hashed { out, hash: Sha256::new() });
        let mut put = |path: &str, content: Option<&[u8]>| {
            let mut header = tar::Header::new_gnu();
            let (kind, mode) = match content {
                Some(_) => (tar::EntryType::Regular, 0o644),
                None => (tar::EntryType::Directory, 0o755),
            };
            header.set_entry_type(kind);
            header.set_mode(mode);
            header.set_mtime(1_700_000_000 + number as u64);
            header.set_size(content.map_or(0, |it| it.len() as u64));
            archive.append_data(&mut header, path, content.unwrap_or_default()).expect("an entry");
            self.entries += 1;
            self.bytes += content.map_or(0, |it| it.len() as u64);
        };
        let mut content = Vec::new();
        for file in 0..shape.files {
            if file % 25 == 0 {
                put(&directory(number, file), None);
            }
            random.fill(&mut content, shape.size / 2 + random.clone().below(shape.size));
            put(&format!("{}/{}", directory(number, file), name(file)), Some(&content));
        }
        if number > 0 {
            for file in (0..shape.files).filter(|file| file % 100 < shape.overwrites) {
                random.fill(&mut content, shape.size);
                put(&format!("{}/{}", directory(number - 1, file), name(file)), Some(&content));
            }
            for file in (0..shape.files).rev().filter(|file| file % 100 >= shape.overwrites).take(shape.whiteouts) {
                put(&format!("{}/.wh.{}", directory(number - 1, file), name(file)), Some(&[]));
            }
        }
        let hashed = archive.into_inner().expect("the archive's end");
        Digest::from_hash(&hashed.hash.finalize())
    }

    fn to_write(&self) -> ImageToWrite {
        let history =
            (0..self.layers.len()).map(|it| History { created_by: format!("RUN {it}"), ..History::default() });
        let config = ImageConfig {
            os: "linux".to_owned(),
            architecture: platform().split('/').nth(1).unwrap_or_default().to_owned(),
            history: history.collect(),
            ..ImageConfig::default()
        };
        ImageToWrite { config, layers: self.layers.clone(), tags: Vec::new(), annotations: Default::default() }
    }

    fn docker_archive(&self) -> PathBuf {
        let path = self.dir.join(format!("{}.docker.tar", self.name));
        export::docker_archive(&self.to_write(), &path).expect("the archive");
        path
    }

    fn oci_archive(&self) -> PathBuf {
        let path = self.dir.join(format!("{}.oci.tar", self.name));
        export::oci_archive(&self.to_write(), &path).expect("the archive");
        path
    }

    fn stored(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size).sum()
    }

    fn remove(&self, more: &[PathBuf]) {
        let layers = self.layers.iter().map(|layer| &layer.path);
        layers.chain(more).for_each(|path| std::fs::remove_file(path).expect("a file"));
    }
}

fn directory(layer: usize, file: usize) -> String {
    format!("usr/lib/package-{layer:02}/part-{:04}", file / 25)
}

fn name(file: usize) -> String {
    format!("module-{file:06}.so")
}

/// xorshift64*.
#[derive(Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// About as compressible as programs are: to a third.
    fn fill(&mut self, content: &mut Vec<u8>, length: usize) {
        content.clear();
        while content.len() < length {
            let word = self.next();
            content.extend_from_slice(&word.to_le_bytes());
            let from = content.len().saturating_sub(8 + (word >> 56) as usize * 8);
            let until = content.len().min(from + 24);
            content.extend_from_within(from..until);
        }
        content.truncate(length);
    }
}

struct Hashed<W> {
    out: W,
    hash: Sha256,
}

impl<W: Write> Write for Hashed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.out.write(bytes)?;
        self.hash.update(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

struct HashedInput {
    input: File,
    hash: Option<Sha256>,
}

impl Read for HashedInput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.input.read(buffer)?;
        if let Some(hash) = &mut self.hash {
            hash.update(&buffer[..length]);
        }
        Ok(length)
    }
}

/// Another build of the program can be measured.
fn program() -> PathBuf {
    std::env::var_os("STAGEDIVE_PROGRAM").map_or_else(|| env!("CARGO_BIN_EXE_stagedive").into(), PathBuf::from)
}

/// What one run of `stagedive size` took.
struct Run {
    time: Duration,
    /// Bytes that are no file's, at their most.
    anonymous: u64,
}

fn size(dir: &Path, args: &[String]) -> Run {
    let mut command = Command::new(program());
    command.args(["size", "--json"]).args(args).env("STAGEDIVE_ROOT", dir.join("store"));
    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("the program starts");
    let status = format!("/proc/{}/status", child.id());
    let mut anonymous = 0;
    let time = loop {
        if let Some(ended) = child.try_wait().expect("the program") {
            assert!(ended.success(), "{command:?}: {ended}");
            break start.elapsed();
        }
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
        anonymous = anonymous.max(kilobytes.unwrap_or(0) * 1024);
        std::thread::sleep(Duration::from_millis(2));
    };
    Run { time, anonymous }
}

/// All layers through the decoders that this program has; with the digests of what goes in, if that is wanted.
fn decompress(layers: &[LayerToWrite], digests: bool) -> Duration {
    on_all_cores(layers, |layer| {
        let file = File::open(&layer.path).expect("a layer");
        let hash = digests.then(Sha256::new);
        let mut file = BufReader::with_capacity(256 << 10, HashedInput { input: file, hash });
        let (_, mut decoded) = compression::decode(&mut file).expect("a decoder");
        let mut buffer = vec![0; 128 << 10];
        while decoded.read(&mut buffer).expect("the layer") > 0 {}
        drop(decoded);
        let hash = file.into_inner().hash.map(|hash| Digest::from_hash(&hash.finalize()));
        assert!(hash.is_none_or(|it| it == layer.digest), "{}", layer.path.display());
    })
}

/// From the start of the program to a screen with the layers on it.
fn first_screen(dir: &Path, archive: &Path) {
    let frame = |_| {
        let mut command = Command::new(program());
        command.arg("explore").arg(archive).env("STAGEDIVE_ROOT", dir.join("store"));
        let start = Instant::now();
        let mut terminal = terminal::Terminal::start(command, 160, 50);
        while !terminal.screen().contains("RUN 7") {
            std::thread::sleep(Duration::from_micros(200));
            assert!(start.elapsed() < Duration::from_secs(20), "no frame:\n{}", terminal.screen());
        }
        let time = start.elapsed();
        terminal.keys("q");
        terminal.exit();
        time
    };
    let mut frames: Vec<Duration> = (0..7).map(frame).collect();
    frames.sort();
    report("start to the first screen", frames[frames.len() / 2], Duration::from_millis(100));
}

/// `gzip -t` or `zstd -t` of every layer, as many at once as there are cores; `None` without the program.
fn tested(program: &str, layers: &[LayerToWrite]) -> Option<Duration> {
    Command::new(program).arg("--version").stdout(Stdio::null()).status().ok()?;
    Some(on_all_cores(layers, |layer| {
        let file = File::open(&layer.path).expect("a layer");
        let status = Command::new(program).args(["-q", "-t"]).stdin(file).status().expect("the program starts");
        assert!(status.success(), "{program}: {status}");
    }))
}

/// How long it takes to do something with each layer, on as many threads as there are cores.
fn on_all_cores(layers: &[LayerToWrite], work: impl Fn(&LayerToWrite) + Sync) -> Duration {
    let mut waiting: Vec<&LayerToWrite> = layers.iter().collect();
    waiting.sort_by_key(|layer| layer.size);
    let waiting = std::sync::Mutex::new(waiting);
    let next = || waiting.lock().expect("the list").pop();
    let threads = std::thread::available_parallelism().map_or(1, |it| it.get());
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| std::iter::from_fn(next).for_each(&work));
        }
    });
    start.elapsed()
}

/// `xray` shows its first tree when it has read everything.
fn peer(image: &Image, ours: Duration) {
    let Some(xray) = std::env::var_os("STAGEDIVE_BENCH_XRAY").filter(|it| !it.is_empty()) else {
        println!("  beside xray-tui: not measured (STAGEDIVE_BENCH_XRAY)");
        return;
    };
    let archive = image.oci_archive();
    let mut command = Command::new(xray);
    command.arg(&archive);
    let start = Instant::now();
    let mut terminal = terminal::Terminal::start(command, 160, 50);
    while !terminal.screen().contains("package-") {
        std::thread::sleep(Duration::from_millis(1));
        assert!(start.elapsed() < Duration::from_secs(120), "xray shows no tree:\n{}", terminal.screen());
    }
    let theirs = start.elapsed();
    let memory = terminal.resident_bytes();
    beside(&format!("  beside xray-tui, {:.0} MB resident", memory as f64 / 1e6), ours, theirs);
    terminal.keys("q");
    drop(terminal);
    std::fs::remove_file(archive).expect("the archive");
}

fn timed(command: &mut Command) -> Duration {
    let start = Instant::now();
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().expect("the program starts");
    assert!(status.success(), "{command:?}: {status}");
    start.elapsed()
}

/// Prints one line; a ratio over 1.00 breaks the promise.
fn report(what: &str, measured: Duration, promised: Duration) {
    let ratio = measured.as_secs_f64() / promised.as_secs_f64();
    println!("{what:<58} {:>8.0} ms {:>8.0} ms {ratio:>7.2}", millis(measured), millis(promised));
}

fn report_memory(what: &str, bytes: u64, promised: f64) {
    let (measured, ratio) = (bytes as f64 / 1e6, bytes as f64 / promised);
    println!("{what:<58} {measured:>8.1} MB {:>8.1} MB {ratio:>7.2}", promised / 1e6);
}

/// Prints one line for what has no promise: this program's time, the other's, and the quotient.
fn beside(what: &str, ours: Duration, theirs: Duration) {
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    println!("{what:<58} {:>8.0} ms {:>8.0} ms {ratio:>7.2}", millis(ours), millis(theirs));
}

fn fastest(runs: &[Run]) -> Duration {
    runs.iter().map(|run| run.time).min().unwrap_or_default()
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn platform() -> String {
    stagedive::names::platform::Platform::host().to_string()
}
