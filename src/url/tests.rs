//! What each spelling of a URL comes to.

use super::{Location, Target, parse};
use crate::error::Error;
use crate::ledger::Refusal;

fn nothing(_: &str) -> Option<String> {
    None
}

fn refusal(url: &str) -> String {
    refusal_in(url, &nothing)
}

fn refusal_in(url: &str, environment: &dyn Fn(&str) -> Option<String>) -> String {
    match parse(url, environment) {
        Err(Error::Refused(Refusal::Invalid { field: "url", .. })) => {}
        other => panic!("{url} came to {other:?}"),
    }
    parse(url, environment).unwrap_err().to_string()
}

#[test]
fn no_database() {
    assert!(matches!(
        parse("memory:", &nothing).unwrap().location,
        Location::Memory
    ));
    for (url, told) in [
        ("", "unknown scheme"),
        ("nonsense", "unknown scheme"),
        ("/var/lib/credits.db", "unknown scheme"),
        ("mysql://localhost/x", "`mysql:`"),
        ("http://x", "`http:`"),
        ("memory://", "memory:"),
        ("host=db user=app password=secret:geheim", "`...:`"),
        (" memory:", "white space"),
    ] {
        let refused = refusal(url);
        assert!(
            refused.contains(told) && !refused.contains("secret"),
            "{url}: {refused}"
        );
    }
    assert!(refusal(&"x".repeat(9_000)).contains("too long"));
}

#[cfg(feature = "sqlite")]
#[test]
fn every_spelling_of_sqlite() {
    use crate::store::sqlite::Location as Place;
    for (url, file) in [
        ("sqlite:///credits.db", Some("credits.db")),
        (
            "sqlite:////var/lib/app/credits.db",
            Some("/var/lib/app/credits.db"),
        ),
        ("sqlite:///my folder/credits.db", Some("my folder/credits.db")),
        ("sqlite:///100%25.db", Some("100%25.db")),
        ("sqlite:///C:/app/credits.db", Some("C:/app/credits.db")),
        ("sqlite:///a#b.db", Some("a#b.db")),
        ("sqlite::memory:", None),
        ("sqlite:///:memory:", None),
        ("sqlite://:memory:", None),
    ] {
        match parse(url, &nothing).unwrap().location {
            Location::Sqlite(Place::File(path)) => assert_eq!(path.to_str(), file, "{url}"),
            Location::Sqlite(Place::Memory) => assert_eq!(file, None, "{url}"),
            other => panic!("{url} came to {other:?}"),
        }
    }
    for (url, told) in [
        ("sqlite:", "sqlite::memory:"),
        ("sqlite://", "sqlite::memory:"),
        ("sqlite:///", "sqlite::memory:"),
        ("sqlite:credits.db", "three slashes"),
        ("sqlite:/var/credits.db", "three slashes"),
        ("sqlite://credits.db", "three slashes"),
        ("sqlite://localhost/var/credits.db", "three slashes"),
        ("sqlite:///credits.db?mode=ro", "no parameters"),
        ("sqlite:///credits.db?key=secret", "no parameters"),
        ("sqlite:///file:credits.db", "sqlite::memory:"),
        ("sqlite:///:memory", "sqlite::memory:"),
        ("sqlite:///folder/", "names a folder"),
        ("sqlite:///credits.db\n", "white space"),
        ("sqlite:///credits.db ", "white space"),
        ("sqlite:/// credits.db", "white space"),
        ("sqlite:///cre\tdits.db", "can't be seen"),
        ("sqlite:///credits.db\u{200b}", "can't be seen"),
        ("\u{feff}sqlite:///credits.db", "can't be seen"),
        ("sqlite:///credits\u{202e}.db", "can't be seen"),
        ("sqlite+aiosqlite:///credits.db", "names a driver"),
        ("sqlite+pysqlite:///credits.db", "names a driver"),
        ("sqlite3:///credits.db", "names a driver"),
        ("SQLite:///credits.db", "unknown scheme"),
    ] {
        let refused = refusal(url);
        assert!(
            refused.contains(told) && !refused.contains("secret"),
            "{url}: {refused}"
        );
    }
}

#[cfg(feature = "postgres")]
mod of_postgres {
    use super::*;
    use sqlx::ConnectOptions;
    use sqlx::postgres::PgConnectOptions;

    fn target(url: &str) -> Target {
        parse(url, &nothing).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    fn options(url: &str) -> PgConnectOptions {
        match target(url).location {
            Location::Postgres(options) => *options,
            other => panic!("{url} came to {other:?}"),
        }
    }

    /// What is asked of TLS, and with which certificates, as sqlx has it.
    fn tls(url: &str) -> String {
        let url = options(url).to_url_lossy();
        let asked = url.query_pairs().filter(|(name, _)| name.starts_with("ssl"));
        let asked: Vec<String> = asked.map(|(name, value)| format!("{name}={value}")).collect();
        asked.join("&")
    }

    #[test]
    fn every_way_to_name_a_place() {
        for (url, host, port, user, database) in [
            ("postgresql://app@db:6543/shop", "db", 6543, "app", Some("shop")),
            ("postgres://app@db/shop", "db", 5432, "app", Some("shop")),
            ("postgresql://app@db:/shop", "db", 5432, "app", Some("shop")),
            ("postgresql://app:geheim@db", "db", 5432, "app", None),
            ("postgresql://app@db/", "db", 5432, "app", None),
            (
                "postgresql://app@[::1]:5433/shop",
                "::1",
                5433,
                "app",
                Some("shop"),
            ),
            (
                "postgresql://app@[2001:db8::7]/shop",
                "2001:db8::7",
                5432,
                "app",
                Some("shop"),
            ),
            (
                "postgresql://app@/shop?host=::1",
                "::1",
                5432,
                "app",
                Some("shop"),
            ),
            (
                "postgresql://app@/shop?host=db&port=5433",
                "db",
                5433,
                "app",
                Some("shop"),
            ),
            (
                "postgresql:///shop?host=db&user=app",
                "db",
                5432,
                "app",
                Some("shop"),
            ),
            (
                "postgresql://db?user=app&dbname=shop",
                "db",
                5432,
                "app",
                Some("shop"),
            ),
            (
                "postgresql:///?hostaddr=10.0.0.7&user=app",
                "10.0.0.7",
                5432,
                "app",
                None,
            ),
            (
                "postgresql://a%40b:p%2Fw@db/sh%20op",
                "db",
                5432,
                "a@b",
                Some("sh op"),
            ),
            ("postgresql://app:p@ss@db/shop", "db", 5432, "app", Some("shop")),
        ] {
            let options = options(url);
            let found = (
                options.get_host(),
                options.get_port(),
                options.get_username(),
                options.get_database(),
            );
            assert_eq!(found, (host, port, user, database), "{url}");
            assert_eq!(options.get_socket(), None, "{url}");
        }
        for url in [
            "postgresql://app@/shop?host=/var/run/postgresql",
            "postgresql://app@%2Fvar%2Frun%2Fpostgresql/shop",
            "postgresql://app@%2Fvar%2Frun%2Fpostgresql:5432/shop",
            "postgresql:///shop?host=%2Fvar%2Frun%2Fpostgresql",
        ] {
            let options = options(url);
            let socket = options.get_socket().and_then(|socket| socket.to_str());
            assert_eq!(
                (socket, options.get_database()),
                (Some("/var/run/postgresql"), Some("shop")),
                "{url}"
            );
        }
        for (url, told) in [
            ("postgresql:shop", "two slashes"),
            ("postgresql://a,b/shop", "several hosts"),
            ("postgresql://app@a:5432,b:5432/shop", "several hosts"),
            ("postgresql:///shop?host=a,b", "several hosts"),
            ("postgresql://app@::1/shop", "brackets"),
            ("postgresql://app@::1:5432/shop", "brackets"),
            ("postgresql://app@[db]/shop", "brackets"),
            ("postgresql://app@[::1/shop", "brackets"),
            ("postgresql://app@[::1]5432/shop", "brackets"),
            ("postgresql://app@db:0/shop", "65535"),
            ("postgresql://app@db:65536/shop", "65535"),
            ("postgresql://app@db:+5432/shop%zz", "%25"),
            ("postgresql://app@db/a/b", "%2F"),
            ("postgresql://app@db/shop?host=other", "`host`"),
            ("postgresql://app@db/shop?hostaddr=10.0.0.7", "`host`"),
            ("postgresql://app@/shop?hostaddr=db", "IP address"),
            ("postgresql://app@db/shop?dbname=other", "`dbname`"),
            ("postgresql://app@d!b/shop", "no sound host"),
            ("postgresql://app@db/shop%00", "%25"),
            ("postgresql://app@db/%ff", "UTF-8"),
            ("postgresql://app@db/shop\n", "white space"),
            ("postgresql://app@db/sh op", "%20"),
            ("postgresql+asyncpg://app@db/shop", "postgresql://"),
            ("postgresql+psycopg://app@db/shop", "postgresql://"),
            ("postgres+psycopg2://app@db/shop", "postgresql://"),
            ("psql://app@db/shop", "postgresql://"),
            ("postgis://app@db/shop", "postgresql://"),
            ("jdbc:postgresql://db/shop", "postgresql://"),
        ] {
            let refused = refusal(url);
            assert!(refused.contains(told), "{url}: {refused}");
        }
    }

    #[test]
    fn tls_is_as_asked_for_or_refused() {
        let files = tempfile::tempdir().unwrap();
        let file = files.path().join("root.crt");
        std::fs::write(&file, "").unwrap();
        let file = file.to_str().unwrap();
        let both = format!("sslcert={file}&sslkey={file}");
        for (asked, meant) in [
            (String::new(), "sslmode=prefer".to_owned()),
            ("sslmode=disable".into(), "sslmode=disable".into()),
            ("sslmode=prefer".into(), "sslmode=prefer".into()),
            ("sslmode=require".into(), "sslmode=require".into()),
            ("sslmode=verify-full".into(), "sslmode=verify-full".into()),
            ("ssl=true".into(), "sslmode=require".into()),
            ("requiressl=1".into(), "sslmode=require".into()),
            ("requiressl=0".into(), "sslmode=prefer".into()),
            // An authority that is named is looked at.
            (
                format!("sslmode=require&sslrootcert={file}"),
                format!("sslmode=verify-ca&sslrootcert=file: {file}"),
            ),
            (
                format!("sslmode=require&{both}"),
                format!("sslmode=require&sslcert=file: {file}&sslkey=file: {file}"),
            ),
        ] {
            let url = format!("postgresql://app@db/shop?{asked}");
            assert_eq!(tls(&url), meant, "{url}");
        }
        for asked in [
            "sslmod=require".to_owned(),
            "SSLMODE=require".into(),
            "sslmode=allow".into(),
            "sslmode=no-verify".into(),
            "sslmode=".into(),
            "sslmode".into(),
            "sslmode=disable&sslmode=require".into(),
            "sslmode=disable&ssl=true".into(),
            "ssl=1".into(),
            "ssl=require".into(),
            "ssl=false".into(),
            "requiressl=true".into(),
            "channel_binding=require".into(),
            "require_auth=scram-sha-256".into(),
            "gssencmode=require".into(),
            "sslnegotiation=direct".into(),
            "ssl_min_protocol_version=TLSv1.3".into(),
            "sslcertmode=require".into(),
            "sslcrl=/etc/crl".into(),
            "sslaccept=strict".into(),
            "ssl-mode=require".into(),
            format!("sslrootcert={file}"),
            format!("sslmode=prefer&sslrootcert={file}"),
            format!("sslmode=disable&{both}"),
            format!("sslmode=verify-full&sslcert={file}"),
            format!("sslmode=verify-full&sslkey={file}"),
            "sslmode=verify-full&sslrootcert=/not/there".into(),
            "sslmode=verify-full&sslrootcert=system".into(),
        ] {
            refusal(&format!("postgresql://app@db/shop?{asked}"));
        }
    }

    #[test]
    fn every_parameter_of_libpq_is_honoured_or_refused_by_name() {
        for asked in [
            "channel_binding=prefer",
            "target_session_attrs=any",
            "gssencmode=prefer",
            "load_balance_hosts=disable",
            "client_encoding=UTF8",
            "keepalives=0",
            "sslcompression=0",
            "sslsni=1",
            "replication=false",
        ] {
            target(&format!("postgresql://app@db/shop?{asked}"));
        }
        for (name, value) in [
            ("target_session_attrs", "read-write"),
            ("load_balance_hosts", "random"),
            ("client_encoding", "LATIN1"),
            ("keepalives", "1"),
            ("keepalives_idle", "30"),
            ("keepalives_interval", "10"),
            ("keepalives_count", "3"),
            ("tcp_user_timeout", "1000"),
            ("replication", "database"),
            ("krbsrvname", "postgres"),
            ("gsslib", "gssapi"),
            ("gssdelegation", "1"),
            ("service", "books"),
            ("servicefile", "/x"),
            ("passfile", "/x"),
            ("requirepeer", "postgres"),
            ("sslpassword", "geheim"),
            ("sslcrldir", "/x"),
            ("sslkeylogfile", "/x"),
            ("ssl_max_protocol_version", "TLSv1.2"),
            ("min_protocol_version", "3.2"),
            ("max_protocol_version", "latest"),
            ("scram_client_key", "geheim"),
            ("scram_server_key", "geheim"),
            ("statement-cache-capacity", "0"),
            ("prepared_statement_cache_size", "0"),
            ("server_settings", "x"),
            ("connection_limit", "5"),
            ("currentSchema", "credits"),
            ("oauth_issuer", "https"),
            ("anything", "else"),
        ] {
            let refused = refusal(&format!("postgresql://app@db/shop?{name}={value}"));
            assert!(
                refused.contains(&format!("`{name}")) && !refused.contains("geheim"),
                "{name}: {refused}"
            );
        }
    }

    #[test]
    fn settings_in_a_url() {
        let said = target("postgresql://app@db/shop?schema=credits&pgbouncer=true&connect_timeout=7");
        assert_eq!(said.schema.as_deref(), Some("credits"));
        assert_eq!(said.pgbouncer, Some(true));
        assert_eq!(said.connect_timeout, Some(std::time::Duration::from_secs(7)));
        for asked in [
            "pgbouncer=1",
            "connect_timeout=0",
            "connect_timeout=-1",
            "connect_timeout=1.5",
            "connect_timeout=5s",
        ] {
            let refused = refusal(&format!("postgresql://app@db/shop?{asked}"));
            assert!(refused.contains(asked), "{refused}");
        }
        let given = options("postgresql://app@db/shop?options=-c%20search_path%3Dx%20-c%20a%3Db+c");
        assert_eq!(given.get_options(), Some("-c search_path=x -c a=b+c"));
        let name = |parameters: &str| {
            let options = options(&format!("postgresql://app@db/shop?{parameters}"));
            options.get_application_name().map(str::to_owned)
        };
        assert_eq!(name("application_name=shop-1").as_deref(), Some("shop-1"));
        assert_eq!(name("fallback_application_name=shop").as_deref(), Some("shop"));
        assert_eq!(
            name("application_name=a&fallback_application_name=b").as_deref(),
            Some("a")
        );
        assert_eq!(name(""), None);
    }

    #[test]
    fn the_environment_says_what_the_url_does_not() {
        let says = |variable: &'static str, value: &'static str| {
            move |asked: &str| (asked == variable).then(|| value.to_owned())
        };
        for (variable, value) in [
            ("PGSSLMODE", "requre"),
            ("PGSSLMODE", "allow"),
            ("PGREQUIRESSL", "yes"),
            ("PGCHANNELBINDING", "require"),
            ("PGREQUIREAUTH", "scram-sha-256"),
            ("PGREQUIREPEER", "postgres"),
            ("PGSSLCERTMODE", "require"),
            ("PGSSLMAXPROTOCOLVERSION", "TLSv1.2"),
            ("PGLOADBALANCEHOSTS", "random"),
            ("PGGSSENCMODE", "require"),
            ("PGTARGETSESSIONATTRS", "read-write"),
            ("PGSSLROOTCERT", "/not/there"),
            ("PGSERVICE", "books"),
            ("PGPORT", "many"),
        ] {
            refusal_in("postgresql://app@db/shop", &says(variable, value));
        }
        refusal_in("postgresql:///shop", &says("PGHOST", "a,b"));
        // The URL's own word counts.
        for (url, variable, value) in [
            (
                "postgresql://app@db/shop?sslmode=verify-full",
                "PGSSLMODE",
                "requre",
            ),
            (
                "postgresql://app@db/shop?sslmode=disable",
                "PGSSLROOTCERT",
                "/not/there",
            ),
            ("postgresql://app@db:5433/shop", "PGPORT", "many"),
            ("postgresql://app@db/shop", "PGHOST", "a,b"),
            ("postgresql://app@db/shop", "PGSSLMODE", ""),
        ] {
            parse(url, &says(variable, value)).unwrap();
        }
        match parse("postgresql://app@db/shop", &says("PGSSLMODE", "require"))
            .unwrap()
            .location
        {
            Location::Postgres(options) => {
                assert!(options.to_url_lossy().as_str().contains("sslmode=require"))
            }
            other => panic!("{other:?}"),
        }
    }

    /// Also where a password was not percent-encoded, so that its parts look like something else.
    #[test]
    fn no_part_of_a_password_is_shown() {
        for url in [
            "postgresql://app:geheim@db:port/shop",
            "postgresql://app:ge/heim@db/shop",
            "postgresql://app:12/geheim@db/shop",
            "postgresql://app:12?geheim=1@db/shop",
            "postgresql://app:geheim?x=1@db/shop",
            "postgresql://app:12#geheim@db/shop",
            "postgresql://app:x@geheim?y=1@db/shop",
            "postgresql://app:geheim%zz@db/shop",
            "postgresql://app:ge heim@db/shop",
            "postgresql://app:geheim\n@db/shop",
            "postgresql://app:geheim@a,b/shop",
            "postgresql://app:geheim@db/shop?passwrd=geheim",
            "postgresql://app@db/shop?sslpassword=geheim",
            "postgresql://app@db/shop?password=x&geheim=y",
            "postgresql://app@db/shop?password=x&geheim",
            "postgresql://app@db/shop?password=geheim&password=geheim",
            "postgresql://app@db/shop?sslmode=geheim@db",
            "postgresql+asyncpg://app:geheim@db/shop",
            "app:geheim@db/shop",
        ] {
            let refused = refusal(url);
            assert!(!refused.contains("geheim"), "{refused}");
        }
        assert!(!format!("{:?}", crate::Settings::new("postgresql://app:geheim@db/shop")).contains("geheim"));
    }
}
