//! A Redis of a test's own, on loopback; gone when dropped.

use redis::{Client, Connection};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub struct Redis {
    process: Child,
    port: u16,
    folder: tempfile::TempDir,
    is_durable: bool,
}

impl Redis {
    /// One that is as old as a cache wants it.
    pub async fn start() -> Self {
        let redis = Redis::with(false).await;
        redis.until_old().await;
        redis
    }

    /// One that comes back with what it had, or nearly so.
    pub async fn start_durable() -> Self {
        let redis = Redis::with(true).await;
        redis.until_old().await;
        redis
    }

    pub async fn until_old(&self) {
        let mut connection = self.connection();
        let is_old = |line: &str| {
            line.strip_prefix("uptime_in_seconds:")
                .is_some_and(|n| n.parse::<u64>().unwrap() >= 3)
        };
        loop {
            let server: String = redis::cmd("INFO").arg("server").query(&mut connection).unwrap();
            if server.lines().any(is_old) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn with(is_durable: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        // A port may be taken between the choice and the start.
        for _ in 0..20 {
            let port = TcpListener::bind("127.0.0.1:0")
                .unwrap()
                .local_addr()
                .unwrap()
                .port();
            let mut process = serve(port, &folder, is_durable);
            if is_ready(port, &mut process).await {
                return Redis {
                    process,
                    port,
                    folder,
                    is_durable,
                };
            }
        }
        panic!("redis-server does not start: run scripts/setup");
    }

    pub fn url(&self) -> String {
        url(self.port)
    }

    /// For looking at it, and for doing what nobody should.
    pub fn connection(&self) -> Connection {
        Client::open(self.url()).unwrap().get_connection().unwrap()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// After [`kill`](Redis::kill): on the same port, with what it had saved.
    pub async fn start_again(&mut self) {
        for _ in 0..20 {
            self.process = serve(self.port, &self.folder, self.is_durable);
            if is_ready(self.port, &mut self.process).await {
                return;
            }
        }
        panic!("redis-server does not start again");
    }

    /// Sends a signal: `STOP` or `CONT`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .args([format!("-{name}"), self.process.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn url(port: u16) -> String {
    format!("redis://127.0.0.1:{port}/0")
}

fn serve(port: u16, folder: &tempfile::TempDir, is_durable: bool) -> Child {
    Command::new("redis-server")
        .args([
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--port",
            &port.to_string(),
            "--dir",
        ])
        .arg(folder.path())
        .args(["--appendonly", if is_durable { "yes" } else { "no" }])
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is missing: run scripts/setup")
}

async fn is_ready(port: u16, process: &mut Child) -> bool {
    let client = Client::open(url(port)).unwrap();
    loop {
        let answer = client
            .get_connection()
            .and_then(|mut connection| redis::cmd("PING").query::<String>(&mut connection));
        if answer.is_ok() {
            // Another server may have had the port before.
            return process.try_wait().unwrap().is_none();
        }
        if process.try_wait().unwrap().is_some() {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
