//! A PostgreSQL server of a test's own, that it can stop and start.

#![allow(clippy::disallowed_methods)] // Where the programs are is said in the environment.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

pub struct Cluster {
    folder: tempfile::TempDir,
    bin: PathBuf,
    owner: Option<(u32, u32)>,
    port: u16,
}

/// Whom servers run as that refuse to run as root; nobody else where we are not root.
pub fn server_user() -> Option<(u32, u32)> {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse().ok());
    number("JOINTO_CREDITS_PG_UID").zip(number("JOINTO_CREDITS_PG_GID"))
}

/// A port that is free now, and can be taken a moment later.
pub fn free_port() -> u16 {
    let free = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    free.local_addr().unwrap().port()
}

impl Cluster {
    pub fn start() -> Self {
        Cluster::start_with(|_| ())
    }

    /// `prepare` gets the folder of the data before the server starts for the first time.
    pub fn start_with(prepare: impl FnOnce(&std::path::Path)) -> Self {
        let bin: PathBuf = std::env::var("JOINTO_CREDITS_PG_BIN")
            .expect("run `make test`")
            .into();
        let owner = server_user();
        let folder = tempfile::tempdir().unwrap();
        if let Some((uid, gid)) = owner {
            std::os::unix::fs::chown(folder.path(), Some(uid), Some(gid)).unwrap();
        }
        let cluster = Cluster {
            folder,
            bin,
            owner,
            port: 0,
        };
        let data = cluster.data();
        cluster.run(
            "initdb",
            &[
                "-D",
                &data,
                "-U",
                "postgres",
                "-A",
                "trust",
                "--no-sync",
                "-E",
                "UTF8",
            ],
        );
        prepare(data.as_ref());
        let mut cluster = cluster;
        // A port that is free now can be taken a moment later: then another is tried.
        for _ in 0..20 {
            cluster.port = free_port();
            if cluster.try_up() {
                return cluster;
            }
        }
        panic!("no server could be started");
    }

    pub fn url(&self) -> String {
        self.url_by("127.0.0.1")
    }

    pub fn url_by(&self, host: &str) -> String {
        format!("postgresql://postgres@{host}:{}/postgres", self.port)
    }

    pub fn up(&self) {
        // After an immediate stop the port may be in use for a moment.
        for _ in 0..50 {
            if self.try_up() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        panic!("the server does not start again");
    }

    /// As a power cut would.
    pub fn stop_immediately(&self) {
        self.run("pg_ctl", &["-D", &self.data(), "-m", "immediate", "-w", "stop"]);
    }

    fn data(&self) -> String {
        self.folder.path().join("data").display().to_string()
    }

    fn try_up(&self) -> bool {
        let options = format!(
            "-c listen_addresses=127.0.0.1 -c port={} -c unix_socket_directories={} -c fsync=off",
            self.port,
            self.folder.path().display()
        );
        let log = self.folder.path().join("log").display().to_string();
        self.command(
            "pg_ctl",
            &[
                "-D",
                &self.data(),
                "-l",
                &log,
                "-o",
                &options,
                "-w",
                "-t",
                "60",
                "start",
            ],
        )
        .status()
        .unwrap()
        .success()
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command
            .args(arguments)
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some((uid, gid)) = self.owner {
            command.uid(uid).gid(gid).env("HOME", self.folder.path());
        }
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let status = self.command(program, arguments).status().unwrap();
        assert!(status.success(), "{program} failed: {status}");
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let _ = self
            .command("pg_ctl", &["-D", &self.data(), "-m", "immediate", "stop"])
            .status();
    }
}
