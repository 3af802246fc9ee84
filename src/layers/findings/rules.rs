//! What is looked for, as tables: places where programs are known to leave things, names that say what they are.
//!
//! Sources: the manual pages and documentation of the programs named, and bford's Cache Directory Tagging
//! Specification for `CACHEDIR.TAG`.

/// Where something is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// A path from the root; `*` stands for any name.
    Path(&'static str),
    /// The same from the home directories of root and of all others.
    Home(&'static str),
    /// A name, wherever it is.
    Name(&'static str),
    /// A directory, wherever it is, that has this in it.
    Holding(&'static str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leftover {
    pub(super) place: Place,
    /// Completes "…, left in the image".
    pub(super) what: &'static str,
    /// What to do, as an order.
    pub(super) mend: &'static str,
}

const fn left(place: Place, what: &'static str, mend: &'static str) -> Leftover {
    Leftover { place, what, mend }
}

use Place::{Holding, Home, Name, Path};

/// What package managers of distributions fetch and keep.
pub(super) const PACKAGE_LISTS: &[Leftover] = &[
    left(
        Path("var/lib/apt/lists"),
        "apt's package lists",
        "end the same RUN with rm -rf /var/lib/apt/lists/*, or give it --mount=type=cache,target=/var/lib/apt/lists",
    ),
    left(
        Path("var/cache/apt"),
        "packages and indexes that apt keeps",
        "end the same RUN with apt-get clean, or give it --mount=type=cache,target=/var/cache/apt",
    ),
    left(Path("var/cache/apk"), "apk's package index", "say apk add --no-cache"),
    left(Path("etc/apk/cache"), "packages that apk keeps", "say apk add --no-cache"),
    left(Path("var/cache/dnf"), "dnf's metadata and packages", "end the same RUN with dnf clean all"),
    left(Path("var/cache/libdnf5"), "dnf's metadata and packages", "end the same RUN with dnf clean all"),
    left(Path("var/cache/yum"), "yum's metadata and packages", "end the same RUN with yum clean all"),
    left(Path("var/cache/zypp"), "zypper's metadata and packages", "end the same RUN with zypper clean --all"),
    left(Path("var/cache/pacman/pkg"), "packages that pacman keeps", "end the same RUN with pacman -Scc --noconfirm"),
];

/// What package managers of languages and other tools keep for the next time, which never comes in an image.
pub(super) const TOOL_CACHES: &[Leftover] = &[
    left(Home(".cache/pip"), "pip's cache", "say pip install --no-cache-dir"),
    left(Home(".cache/uv"), "uv's cache", "say uv --no-cache, or RUN --mount=type=cache,target=/root/.cache/uv"),
    left(Home(".cache/pypoetry"), "Poetry's cache", CACHE_MOUNT),
    left(Home(".cache/pipenv"), "pipenv's cache", CACHE_MOUNT),
    left(Home(".npm/_cacache"), "npm's cache", "RUN --mount=type=cache,target=/root/.npm keeps it out of the image"),
    left(Home(".cache/yarn"), "yarn's cache", CACHE_MOUNT),
    left(Home(".yarn/berry/cache"), "yarn's cache", CACHE_MOUNT),
    left(Path("usr/local/share/.cache/yarn"), "yarn's cache", "end the same RUN with yarn cache clean"),
    left(Home(".local/share/pnpm/store"), "pnpm's store", CACHE_MOUNT),
    left(Home(".bun/install/cache"), "bun's cache", CACHE_MOUNT),
    left(Home(".cache/deno"), "deno's cache", CACHE_MOUNT),
    left(Home(".cache/go-build"), "Go's build cache", CACHE_MOUNT),
    left(Home("go/pkg/mod"), "Go's modules", CACHE_MOUNT),
    left(Path("go/pkg/mod"), "Go's modules", CACHE_MOUNT),
    left(Home(".cargo/registry"), "cargo's registry", CACHE_MOUNT),
    left(Home(".cargo/git"), "cargo's checkouts", CACHE_MOUNT),
    left(Path("usr/local/cargo/registry"), "cargo's registry", CACHE_MOUNT),
    left(Path("usr/local/cargo/git"), "cargo's checkouts", CACHE_MOUNT),
    left(Home(".gradle/caches"), "Gradle's caches", CACHE_MOUNT),
    left(Home(".m2/repository"), "Maven's repository", CACHE_MOUNT),
    left(Home(".ivy2/cache"), "Ivy's cache", CACHE_MOUNT),
    left(Home(".cache/coursier"), "coursier's cache", CACHE_MOUNT),
    left(Home(".composer/cache"), "Composer's cache", CACHE_MOUNT),
    left(Home(".cache/composer"), "Composer's cache", CACHE_MOUNT),
    left(Home(".nuget/packages"), "NuGet's packages", CACHE_MOUNT),
    left(Home(".bundle/cache"), "Bundler's cache", CACHE_MOUNT),
    left(Path("usr/local/bundle/cache"), "Bundler's cache", "remove it at the end of the same RUN"),
    left(Path("opt/conda/pkgs"), "conda's packages", "end the same RUN with conda clean --all --yes"),
    left(Home(".cache/ccache"), "ccache's cache", CACHE_MOUNT),
    left(Home(".ccache"), "ccache's cache", CACHE_MOUNT),
    left(Home(".cache/bazel"), "Bazel's cache", CACHE_MOUNT),
    left(Holding("CACHEDIR.TAG"), "a cache, by its CACHEDIR.TAG", CACHE_MOUNT),
];

const CACHE_MOUNT: &str = "RUN --mount=type=cache,target=DIRECTORY keeps it out of the image";

/// What belongs to a project's directory and to no image.
pub(super) const PROJECT_FILES: &[Leftover] = &[
    left(Name(".git"), "a git repository", IGNORE),
    left(Name(".hg"), "a Mercurial repository", IGNORE),
    left(Name(".svn"), "a Subversion checkout", IGNORE),
    left(Name(".terraform"), "Terraform's plugins and state", IGNORE),
    left(Name(".idea"), "an editor's settings", IGNORE),
    left(Name(".vscode"), "an editor's settings", IGNORE),
    left(Name(".pytest_cache"), "a cache of pytest", IGNORE),
    left(Name(".mypy_cache"), "a cache of mypy", IGNORE),
    left(Name(".ruff_cache"), "a cache of ruff", IGNORE),
    left(Name(".tox"), "environments of tox", IGNORE),
    left(Name(".nox"), "environments of nox", IGNORE),
    left(Name(".parcel-cache"), "a cache of Parcel", IGNORE),
    left(Name(".turbo"), "a cache of Turborepo", IGNORE),
    left(Name(".DS_Store"), "what a file manager leaves", IGNORE),
];

const IGNORE: &str = "name it in .dockerignore, or copy only what is needed";

/// What is made anew in the image, as a rule, and comes from elsewhere if a COPY or ADD brings it.
pub(super) const COPIED: &[Leftover] = &[
    left(Name("node_modules"), "node_modules, copied in", COPIED_MEND),
    left(Name(".venv"), "a virtual environment, copied in", COPIED_MEND),
    left(Name("__pycache__"), "compiled Python files, copied in", COPIED_MEND),
];

const COPIED_MEND: &str = "if it comes from the build context, name it in .dockerignore and install in the build";

/// Toolchains that no package manager knows of.
pub(super) const TOOLCHAINS: &[Leftover] = &[
    left(Path("usr/local/go"), "the Go toolchain", OWN_STAGE),
    left(Path("usr/local/rustup"), "Rust toolchains", OWN_STAGE),
    left(Home(".rustup"), "Rust toolchains", OWN_STAGE),
    left(Path("usr/lib/jvm/*/jmods"), "a JDK, where a JRE would do", OWN_STAGE),
    left(Path("opt/java/openjdk/jmods"), "a JDK, where a JRE would do", OWN_STAGE),
    left(Path("opt/gradle"), "Gradle", OWN_STAGE),
    left(Path("usr/share/maven"), "Maven", OWN_STAGE),
];

/// The same for images that have no list of packages.
pub(super) const COMPILERS: &[Leftover] = &[
    left(Path("usr/lib/gcc"), "a compiler's parts", OWN_STAGE),
    left(Path("usr/libexec/gcc"), "a compiler's parts", OWN_STAGE),
    left(Path("usr/local/lib/gcc"), "a compiler's parts", OWN_STAGE),
    left(Path("usr/local/libexec/gcc"), "a compiler's parts", OWN_STAGE),
    left(Path("usr/include"), "header files", OWN_STAGE),
];

pub(super) const OWN_STAGE: &str =
    "build in a stage of its own, and COPY --from it only what the program needs at run time";

/// Packages that build programs: patterns of names, in any distribution.
pub(super) const BUILD_PACKAGES: &[&str] = &[
    "*-dev",
    "*-devel",
    "*-headers",
    "autoconf",
    "automake",
    "bazel",
    "binutils",
    "bison",
    "build-base",
    "build-essential",
    "cargo",
    "clang",
    "clang-[0-9]*",
    "cmake",
    "cpp-[0-9]*",
    "dpkg-dev",
    "flex",
    "g++",
    "g++-[0-9]*",
    "gcc",
    "gcc-[0-9]",
    "gcc-[0-9][0-9]",
    "gcc-c++",
    "ghc",
    "go",
    "golang",
    "golang-[0-9]*",
    "golang-go",
    "gradle",
    "libtool",
    "llvm",
    "llvm-[0-9]*",
    "m4",
    "make",
    "maven",
    "meson",
    "nasm",
    "ninja",
    "ninja-build",
    "openjdk*-jdk*",
    "java-*-openjdk-devel",
    "rust",
    "rustc",
    "yasm",
];

/// Names of files that hold what gives access to something, with the directory they are in where the name alone says
/// too little.
pub(super) const SECRET_FILES: &[(Option<&str>, &str)] = &[
    (None, ".boto"),
    (None, ".dockercfg"),
    (None, ".env"),
    (None, ".git-credentials"),
    (None, ".htpasswd"),
    (None, ".my.cnf"),
    (None, ".netrc"),
    (None, ".pgpass"),
    (None, ".pypirc"),
    (None, ".s3cfg"),
    (None, ".vault-token"),
    (None, "id_dsa"),
    (None, "id_ecdsa"),
    (None, "id_ecdsa_sk"),
    (None, "id_ed25519"),
    (None, "id_ed25519_sk"),
    (None, "id_rsa"),
    (None, "terraform.tfstate"),
    (None, "terraform.tfstate.backup"),
    (Some(".aws"), "credentials"),
    (Some(".azure"), "accessTokens.json"),
    (Some(".azure"), "msal_token_cache.json"),
    (Some(".cargo"), "credentials"),
    (Some(".cargo"), "credentials.toml"),
    (Some(".docker"), "config.json"),
    (Some(".gem"), "credentials"),
    (Some(".gnupg"), "secring.gpg"),
    (Some(".kube"), "config"),
    (Some(".m2"), "settings-security.xml"),
    (Some(".terraform.d"), "credentials.tfrc.json"),
    (Some("config"), "master.key"),
    (Some("containers"), "auth.json"),
    (Some("gcloud"), "access_tokens.db"),
    (Some("gcloud"), "application_default_credentials.json"),
    (Some("gcloud"), "credentials.db"),
    (Some("gh"), "hosts.yml"),
    (Some("rclone"), "rclone.conf"),
];

/// What is behind the last dot of a file like `.env.production` if there are no secrets in it: it is there to be copied
/// and filled in, or for tests.
pub(super) const TEMPLATES: &[&str] =
    &["default", "defaults", "dist", "example", "sample", "schema", "template", "test", "tpl"];

/// The same by how the name ends: stores of keys.
pub(super) const SECRET_ENDINGS: &[&str] = &[".kdbx", ".p12", ".pfx", ".ppk"];

/// Directories whose keys and passwords are examples, as a rule.
pub(super) const EXAMPLES: &[&str] = &[
    "__tests__",
    "certdata",
    "doc",
    "docs",
    "example",
    "examples",
    "fixture",
    "fixtures",
    "node_modules",
    "samples",
    "spec",
    "test",
    "test-fixtures",
    "testdata",
    "testing",
    "tests",
];

/// Whole words of a variable's name that say that its value is a secret.
pub(super) const SECRET_WORDS: &[&str] = &[
    "ACCESS_KEY",
    "API_KEY",
    "AUTH_KEY",
    "DEPLOY_KEY",
    "ENCRYPTION_KEY",
    "MASTER_KEY",
    "PRIVATE_KEY",
    "SIGNING_KEY",
    "SSH_KEY",
];

/// The same as parts of words, too.
pub(super) const SECRET_PARTS: &[&str] = &["APIKEY", "CREDENTIAL", "PASSPHRASE", "PASSWD", "PASSWORD", "SECRET"];

/// The same at the end of a name: tokenizers and limits of tokens are none.
pub(super) const SECRET_NAME_ENDS: &[&str] = &["_PASS", "_PWD", "TOKEN"];

/// Ends of such names that say where the secret is, and not what.
pub(super) const SECRET_REFERENCES: &[&str] = &["_DIR", "_FILE", "_ID", "_NAME", "_PATH", "_URL"];

/// Values that turn something on or off.
pub(super) const SWITCHES: &[&str] = &["false", "no", "off", "on", "true", "yes"];
