//! URLs of PostgreSQL, as libpq writes them (<https://www.postgresql.org/docs/current/libpq-connect.html>).
//!
//! sqlx passes over parameters that it does not know, writes some of its own, and takes white space out: so it gets the
//! parts one by one, each checked here.

use super::{Location, Target, refused, word};
use crate::error::Result;
use sqlx::postgres::PgConnectOptions;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

const FORM: &str = "postgresql://user:password@host:5432/database";

const HONOURED: &str = "host, hostaddr, port, user, password, dbname, sslmode, sslrootcert, sslcert, sslkey, \
     application_name, fallback_application_name, options, connect_timeout, schema, pgbouncer";

/// What becomes of a parameter.
#[derive(Clone, Copy)]
enum Rule {
    Honoured,
    /// Honoured with these values, since they say what happens anyway. What to write instead of others.
    Already(&'static [&'static str], &'static str),
    /// What to write instead.
    Refused(&'static str),
}

use Rule::{Already, Honoured, Refused};

const VERIFY: &str = "sslmode=verify-full, and leave it out";
const KEEPALIVE: &str = "leave it out; options=-c%20tcp_keepalives_idle=30 has the server do it";
const TRANSACTION_MODE: &str = "pgbouncer=true, where a pooler in transaction mode is there";

/// libpq's parameters, and those of other libraries that are met most often.
const PARAMETERS: &[(&str, Rule)] = &[
    ("host", Honoured),
    ("hostaddr", Honoured),
    ("port", Honoured),
    ("user", Honoured),
    ("password", Honoured),
    ("dbname", Honoured),
    ("sslmode", Honoured),
    ("sslrootcert", Honoured),
    ("sslcert", Honoured),
    ("sslkey", Honoured),
    ("application_name", Honoured),
    ("fallback_application_name", Honoured),
    ("options", Honoured),
    ("connect_timeout", Honoured),
    ("schema", Honoured),
    ("pgbouncer", Honoured),
    // As libpq has it: the same as sslmode=require.
    (
        "ssl",
        Already(&["true"], "sslmode=require, or sslmode=verify-full"),
    ),
    (
        "requiressl",
        Already(&["0", "1"], "sslmode=require, or sslmode=verify-full"),
    ),
    ("channel_binding", Already(&["disable", "prefer"], VERIFY)),
    (
        "require_auth",
        Refused("sslmode=verify-full, so that no other server is told the password"),
    ),
    (
        "target_session_attrs",
        Already(&["any"], "the primary's own host, and leave it out"),
    ),
    (
        "load_balance_hosts",
        Already(&["disable"], "one host, and leave it out"),
    ),
    ("gssencmode", Already(&["disable", "prefer"], VERIFY)),
    (
        "gssdelegation",
        Already(&["0"], "leave it out; there is no GSSAPI"),
    ),
    ("krbsrvname", Refused("leave it out; there is no GSSAPI")),
    ("gsslib", Refused("leave it out; there is no GSSAPI")),
    (
        "sslnegotiation",
        Already(&["postgres"], "leave it out; the server is asked for TLS first"),
    ),
    (
        "sslcompression",
        Already(&["0"], "leave it out; TLS is never compressed"),
    ),
    (
        "sslsni",
        Already(&["1"], "leave it out; the host's name is always told"),
    ),
    (
        "sslcertmode",
        Already(&["allow"], "sslcert and sslkey, or neither"),
    ),
    (
        "sslpassword",
        Refused("sslkey with a key that has no password, readable for this user only"),
    ),
    (
        "sslcrl",
        Refused("leave it out; certificates are not looked up in lists of revoked ones"),
    ),
    (
        "sslcrldir",
        Refused("leave it out; certificates are not looked up in lists of revoked ones"),
    ),
    (
        "sslkeylogfile",
        Refused("leave it out; keys of sessions are not written down"),
    ),
    (
        "ssl_min_protocol_version",
        Already(
            &["TLSv1", "TLSv1.1", "TLSv1.2"],
            "leave it out; TLS 1.2 is the least",
        ),
    ),
    (
        "ssl_max_protocol_version",
        Already(&["TLSv1.3"], "leave it out; TLS 1.3 is the most"),
    ),
    (
        "min_protocol_version",
        Already(&["3.0"], "leave it out; the protocol is 3.0"),
    ),
    (
        "max_protocol_version",
        Already(&["3.0"], "leave it out; the protocol is 3.0"),
    ),
    (
        "requirepeer",
        Refused("leave it out, and a folder that only the server can write for its socket"),
    ),
    (
        "client_encoding",
        Already(&["UTF8", "UTF-8", "utf8", "utf-8"], "leave it out; it is UTF-8"),
    ),
    (
        "replication",
        Already(&["false", "off", "no", "0"], "leave it out"),
    ),
    ("service", Refused("host, port, user and dbname themselves")),
    ("servicefile", Refused("host, port, user and dbname themselves")),
    (
        "passfile",
        Refused("the environment variable PGPASSFILE, or the password"),
    ),
    ("scram_client_key", Refused("password")),
    ("scram_server_key", Refused("password")),
    ("keepalives", Already(&["0"], KEEPALIVE)),
    ("keepalives_idle", Refused(KEEPALIVE)),
    ("keepalives_interval", Refused(KEEPALIVE)),
    ("keepalives_count", Refused(KEEPALIVE)),
    ("tcp_user_timeout", Already(&["0"], KEEPALIVE)),
    ("tcpKeepAlive", Refused(KEEPALIVE)),
    // sqlx's own spellings.
    ("ssl-mode", Refused("sslmode")),
    ("ssl-root-cert", Refused("sslrootcert")),
    ("ssl-ca", Refused("sslrootcert")),
    ("ssl-cert", Refused("sslcert")),
    ("ssl-key", Refused("sslkey")),
    ("statement-cache-capacity", Refused(TRANSACTION_MODE)),
    // SQLAlchemy, asyncpg, psycopg.
    ("server_settings", Refused("options=-c%20NAME=VALUE")),
    ("statement_cache_size", Refused(TRANSACTION_MODE)),
    ("prepared_statement_cache_size", Refused(TRANSACTION_MODE)),
    ("prepare_threshold", Refused(TRANSACTION_MODE)),
    ("pool_size", Refused("the setting `max_connections`")),
    ("max_overflow", Refused("the setting `max_connections`")),
    ("command_timeout", Refused("options=-c%20statement_timeout=60s")),
    // Django, by dj-database-url and django-environ.
    ("conn_max_age", Refused("leave it out; connections are kept")),
    ("search_path", Refused("schema")),
    // Prisma.
    ("connection_limit", Refused("the setting `max_connections`")),
    ("pool_timeout", Refused("connect_timeout")),
    ("socket_timeout", Refused("options=-c%20statement_timeout=60s")),
    ("sslaccept", Refused("sslmode=verify-full")),
    ("sslidentity", Refused("sslcert and sslkey")),
    // JDBC.
    ("currentSchema", Refused("schema")),
    ("ApplicationName", Refused("application_name")),
    ("loginTimeout", Refused("connect_timeout")),
    ("prepareThreshold", Refused(TRANSACTION_MODE)),
];

/// Variables that say what a parameter would, where the URL does not. sqlx reads some itself, and passes over values that it
/// does not understand.
const VARIABLES: [(&str, &str); 20] = [
    ("PGHOST", "host"),
    ("PGPORT", "port"),
    ("PGSSLMODE", "sslmode"),
    ("PGREQUIRESSL", "requiressl"),
    ("PGSSLROOTCERT", "sslrootcert"),
    ("PGSSLCERT", "sslcert"),
    ("PGSSLKEY", "sslkey"),
    ("PGSSLNEGOTIATION", "sslnegotiation"),
    ("PGSSLCRL", "sslcrl"),
    ("PGSSLCRLDIR", "sslcrldir"),
    ("PGSSLMINPROTOCOLVERSION", "ssl_min_protocol_version"),
    ("PGCHANNELBINDING", "channel_binding"),
    ("PGREQUIREAUTH", "require_auth"),
    ("PGREQUIREPEER", "requirepeer"),
    ("PGSSLCERTMODE", "sslcertmode"),
    ("PGSSLMAXPROTOCOLVERSION", "ssl_max_protocol_version"),
    ("PGLOADBALANCEHOSTS", "load_balance_hosts"),
    ("PGGSSENCMODE", "gssencmode"),
    ("PGTARGETSESSIONATTRS", "target_session_attrs"),
    ("PGSERVICE", "service"),
];

/// What a URL says, each part once, percent-encoding undone.
#[derive(Default)]
struct Parts(BTreeMap<String, String>);

impl Parts {
    /// A part of the URL; twice would leave open which one counts.
    fn say(&mut self, name: &str, value: String) -> Result<()> {
        if self.0.insert(name.to_owned(), value).is_some() {
            return refused("says something twice", "once each", format!("`{}`", word(name)));
        }
        Ok(())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// Reads what follows `postgresql://`.
pub(super) fn parse(rest: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<Target> {
    let mut parts = read(rest)?;
    for (name, value) in &parts.0 {
        // Behind a password with an `&` in it, an unknown name is a part of that.
        let may_be_secret = parts.get("password").is_some() && rest.contains("password=");
        check(
            name,
            if may_be_secret && rule(name).is_none() {
                "..."
            } else {
                name
            },
            value,
        )?;
    }
    from_environment(&mut parts, environment)?;
    check_place(&mut parts)?;
    check_tls(&mut parts)?;
    let connect_timeout = match parts.0.remove("connect_timeout") {
        Some(seconds) => Some(whole_seconds(&seconds)?),
        None => None,
    };
    let pgbouncer = match parts.0.remove("pgbouncer").as_deref() {
        None => None,
        Some("true") => Some(true),
        Some("false") => Some(false),
        Some(other) => return wrong("pgbouncer", "true or false", other),
    };
    let schema = parts.0.remove("schema");
    if let Some(name) = parts.0.remove("fallback_application_name")
        && environment("PGAPPNAME").is_none()
    {
        parts.0.entry("application_name".into()).or_insert(name);
    }
    Ok(Target {
        location: Location::Postgres(Box::new(options(&parts)?)),
        schema,
        pgbouncer,
        connect_timeout,
    })
}

/// Takes the URL apart.
fn read(rest: &str) -> Result<Parts> {
    if rest.contains(char::is_whitespace) {
        return refused(
            "has white space in it; write a blank as %20",
            FORM,
            "a URL with white space",
        );
    }
    if rest.contains('#') {
        return refused("has a `#` in it; write it as %23", FORM, "a URL with a `#`");
    }
    let (authority, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
    if tail.contains('@') {
        // What comes before it would be a part of the password.
        let problem = "has an `@` behind the host; where it belongs to a password or a name, write `@` as %40, `/` as %2F and `?` as %3F";
        return refused(problem, FORM, "a URL with such an `@`");
    }
    let mut parts = Parts::default();
    let (login, address) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let (host, port) = address_of(address)?;
    let database = path.strip_prefix('/').unwrap_or_default();
    if database.contains('/') {
        return refused(
            "has a `/` in the database's name; write it as %2F",
            FORM,
            "such a name",
        );
    }
    for (name, value) in [
        ("user", user),
        ("password", password),
        ("host", host),
        ("port", port),
        ("dbname", database),
    ] {
        if !value.is_empty() {
            parts.say(name, decoded(value)?)?;
        }
    }
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let Some((name, value)) = parameter.split_once('=').filter(|(_, value)| !value.is_empty()) else {
            return refused("has a parameter without a value", "NAME=VALUE", "none");
        };
        parts.say(&decoded(name)?, decoded(value)?)?;
    }
    Ok(parts)
}

/// Host and port, either of them empty.
fn address_of(address: &str) -> Result<(&str, &str)> {
    if let Some(bracketed) = address.strip_prefix('[') {
        let (host, behind) = bracketed.split_once(']').unwrap_or((bracketed, "?"));
        let port = behind.strip_prefix(':').unwrap_or(behind);
        let is_sound = behind.is_empty() || behind.starts_with(':');
        if !is_sound || host.parse::<std::net::Ipv6Addr>().is_err() {
            return refused(
                "has no IPv6 address in its brackets",
                "[::1]:5432",
                "something else",
            );
        }
        return Ok((host, port));
    }
    several_hosts(address)?;
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    if host.contains(':') {
        let problem = "has more than one `:` in its address; write an IPv6 address in brackets, and `:` in a password as %3A";
        return refused(problem, "[::1]:5432", "such an address");
    }
    Ok((host, port))
}

fn several_hosts(address: &str) -> Result<()> {
    if address.contains(',') {
        let problem = "names several hosts; name the one of the primary, or of a proxy that finds it";
        return refused(problem, "one host", "several");
    }
    Ok(())
}

/// Percent-encoding undone. A `+` is a `+`, as for libpq.
fn decoded(text: &str) -> Result<String> {
    let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        match (digit(rest.next()), digit(rest.next())) {
            (Some(high), Some(low)) if high + low > 0 => bytes.push((high << 4 | low) as u8),
            _ => {
                let problem = "has a `%` that is not followed by two hexadecimal digits, or a zero; write `%` itself as %25";
                return refused(problem, "%25", "such a `%`");
            }
        }
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(_) => refused("has percent-encoding that is not UTF-8", "UTF-8", "other bytes"),
    }
}

fn rule(name: &str) -> Option<Rule> {
    // One setting of the server, as sqlx writes it.
    if name.starts_with("options[") && name.ends_with(']') {
        return Some(Honoured);
    }
    let known = PARAMETERS.iter().find(|(known, _)| *known == name);
    known.map(|(_, rule)| *rule)
}

/// Whether a parameter is known and may have this value; `named` is what it is called where it was said.
fn check(name: &str, named: &str, value: &str) -> Result<()> {
    match rule(name) {
        Some(Honoured) => Ok(()),
        Some(Already(values, _)) if values.contains(&value) => Ok(()),
        Some(Already(_, instead)) => {
            let given = format!("`{named}={}`", word(value));
            refused("asks for what is not done; write instead", instead, given)
        }
        Some(Refused(instead)) => refused(
            "asks for what is not done; write instead",
            instead,
            format!("`{named}`"),
        ),
        None => refused("has an unknown parameter", HONOURED, format!("`{}`", word(named))),
    }
}

/// What the environment says that the URL does not.
fn from_environment(parts: &mut Parts, environment: &dyn Fn(&str) -> Option<String>) -> Result<()> {
    let has_place = parts.get("host").or(parts.get("hostaddr")).is_some();
    let says_tls = ["sslmode", "ssl", "requiressl"]
        .iter()
        .any(|name| parts.get(name).is_some());
    let plain = parts.get("sslmode") == Some("disable");
    for (variable, name) in VARIABLES {
        let is_said = match name {
            "host" => has_place || environment("PGHOSTADDR").is_some(),
            "sslmode" | "requiressl" => says_tls,
            "sslrootcert" | "sslcert" | "sslkey" => plain || parts.get(name).is_some(),
            _ => parts.get(name).is_some(),
        };
        if let Some(value) = environment(variable).filter(|value| !is_said && !value.is_empty()) {
            check(name, variable, &value)?;
            parts.say(name, value)?;
        }
    }
    Ok(())
}

/// Host and port: sound, and one of each.
fn check_place(parts: &mut Parts) -> Result<()> {
    if let Some(address) = parts.0.remove("hostaddr") {
        if address.parse::<std::net::IpAddr>().is_err() {
            return wrong("hostaddr", "an IP address", &address);
        }
        // With a name beside it, certificates would have to be compared with that one.
        parts.say("host", address)?;
    }
    if let Some(host) = parts.get("host") {
        several_hosts(host)?;
        let plain = |c: char| c.is_alphanumeric() || "-_.:".contains(c);
        if !host.starts_with('/') && !host.chars().all(plain) {
            return refused(
                "has no sound host",
                "a name, an address, or host=/FOLDER of a socket",
                "another one",
            );
        }
    }
    if let Some(port) = parts.get("port")
        && port.parse::<u16>().ok().is_none_or(|port| port == 0)
    {
        // Not shown: it may be what follows the `:` in a password with a `/` or `?`.
        let problem = "has no sound port; where a password has one of : / ? # @ % in it, percent-encode that";
        return refused(problem, "1 .. 65535", "another one");
    }
    Ok(())
}

/// What is asked of TLS, said in `sslmode` alone afterwards.
fn check_tls(parts: &mut Parts) -> Result<()> {
    let ssl = parts.0.remove("ssl").is_some();
    let required = parts.0.remove("requiressl").is_some_and(|value| value == "1");
    if ssl || required {
        parts.say("sslmode", "require".into())?;
    }
    let mode = parts.get("sslmode").unwrap_or("prefer").to_owned();
    let modes = ["disable", "prefer", "require", "verify-ca", "verify-full"];
    if mode == "allow" {
        return refused(
            "asks for what is not done; write instead",
            "sslmode=prefer",
            "`sslmode=allow`",
        );
    }
    if !modes.contains(&mode.as_str()) {
        return wrong("sslmode", &modes.join(", "), &mode);
    }
    let certificates = ["sslrootcert", "sslcert", "sslkey"];
    for name in certificates {
        let Some(path) = parts.get(name) else {
            continue;
        };
        if matches!(mode.as_str(), "disable" | "prefer") {
            let problem = "has a certificate, and does not ask for TLS; write beside it";
            return refused(problem, "sslmode=verify-full", format!("`{name}`"));
        }
        if (name, path) == ("sslrootcert", "system") {
            let problem =
                "asks for what is not done; leave it out, and public authorities are trusted, or write";
            return refused(
                problem,
                "sslrootcert=/etc/ssl/certs/ca-certificates.crt",
                "`sslrootcert=system`",
            );
        }
        if !path.starts_with("-----BEGIN") && !Path::new(path).is_file() {
            return refused("names a file that is not there", format!("{name}=FILE"), path);
        }
    }
    if parts.get("sslcert").is_some() != parts.get("sslkey").is_some() {
        return refused("has one of sslcert and sslkey", "both or neither", "one");
    }
    if mode == "require" && parts.get("sslrootcert").is_some() {
        // As for libpq: whoever names an authority wants it looked at.
        parts.0.insert("sslmode".into(), "verify-ca".into());
    }
    Ok(())
}

/// As libpq: 0 is no limit, which a ledger does not have.
fn whole_seconds(text: &str) -> Result<Duration> {
    match text.parse::<u32>() {
        Ok(seconds) if seconds > 0 => Ok(Duration::from_secs(seconds.into())),
        _ => wrong("connect_timeout", "seconds, 1 or more", text),
    }
}

fn wrong<T>(name: &str, limit: &str, value: &str) -> Result<T> {
    refused(
        "has a parameter with an unknown value",
        limit,
        format!("`{name}={}`", word(value)),
    )
}

/// Hands the parts to sqlx, which adds what the environment and the file of passwords say beside them.
fn options(parts: &Parts) -> Result<PgConnectOptions> {
    let mut url = String::from("postgresql:///");
    let mut mark = '?';
    let honoured = |name: &str| matches!(rule(name), Some(Honoured));
    for (name, value) in parts.0.iter().filter(|(name, _)| honoured(name)) {
        url.push(mark);
        encode(&mut url, name);
        url.push('=');
        encode(&mut url, value);
        mark = '&';
    }
    match url.parse() {
        Ok(options) => Ok(options),
        // The parser's own message may quote the URL, and the URL may hold a password.
        Err(_) => refused("can't be understood", FORM, "a malformed postgresql URL"),
    }
}

/// Everything but letters and digits, so that nothing has a meaning of its own.
fn encode(url: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            url.push(char::from(byte));
        } else {
            url.push_str(&format!("%{byte:02X}"));
        }
    }
}
