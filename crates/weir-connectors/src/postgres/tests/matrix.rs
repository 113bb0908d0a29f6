//! Every type that travels: read, written into a new table, and printed by the server. The server's own text of the original is the
//! oracle. Each case runs in COPY's binary form, and again beside an `inet` column, which makes the sink write text.

use weir_connect::OnLoss;
use weir_testkit::Database;

use super::{as_text, copy, database, server_lines, values};

/// A column type, the type that a new table gets for it, and values; NULL is added to each.
pub(in crate::postgres) type Case = (&'static str, &'static str, &'static [&'static str]);

pub(in crate::postgres) const NUMBERS: &[Case] = &[
    ("boolean", "boolean", &["true", "false"]),
    ("smallint", "smallint", &["-32768", "0", "32767"]),
    ("integer", "integer", &["-2147483648", "0", "2147483647"]),
    ("bigint", "bigint", &["-9223372036854775808", "-1", "9223372036854775807"]),
    ("oid", "bigint", &["0", "4294967295"]),
    ("real", "real", &["NaN", "Infinity", "-Infinity", "-0", "0", "1e-45", "3.4028235e38", "0.1"]),
    (
        "double precision",
        "double precision",
        &["NaN", "Infinity", "-Infinity", "-0", "5e-324", "1.7976931348623157e308", "0.1", "-123456.789"],
    ),
    ("numeric(10,2)", "numeric(10,2)", &["0", "-0.01", "99999999.99", "-99999999.99", "10000", "1.50"]),
    ("numeric(38,0)", "numeric(38,0)", &["99999999999999999999999999999999999999", "-1"]),
    ("numeric(5,-2)", "numeric(7,0)", &["100", "-9999900", "0"]),
    ("numeric(2,5)", "numeric(5,5)", &["0.00099", "-0.00001", "0"]),
    (
        "numeric(60,20)",
        "numeric(60,20)",
        &["9999999999999999999999999999999999999999.99999999999999999999", "-0.00000000000000000001"],
    ),
];

pub(in crate::postgres) const TEXTS: &[Case] = &[
    ("text", "text", &["", " ", "NULL", "\\N", "\\.", "a\tb\nc\rd", "say \"hi\", it's", "日本語", "e\u{301} 🦀", "\u{1}\u{7f}"]),
    ("varchar(5)", "character varying(5)", &["", "ab   ", "日本語テキ", "🦀🦀🦀🦀🦀"]),
    ("varchar", "text", &["", "no limit"]),
    ("char(4)", "character(4)", &["", "a", "ab  ", "日本", "wxyz"]),
    ("\"char\"", "text", &["a", "+"]),
    ("name", "text", &["a_name", "Ünï"]),
    ("bytea", "bytea", &["\\x", "\\x00ff5c0a0d09", "\\xdeadbeef"]),
    ("uuid", "uuid", &["00000000-0000-0000-0000-000000000000", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11"]),
    ("json", "json", &["null", "{\"a\": 1,  \"a\": 2}", "[1e400, 12345678901234567890123]", "\"\\u0000\""]),
    ("jsonb", "jsonb", &["null", "{\"b\": 1, \"a\": [12345678901234567890.10, \"\\u00e9\\\\\"]}", "\"text\"", "1e40"]),
    ("xml", "xml", &["<a b=\"c\">é &amp; ü</a>", "<x/><y/>", "text"]),
    ("tsvector", "tsvector", &["'a':1A 'fat':2B,4C 'it''s':5", ""]),
    ("tsquery", "tsquery", &["'fat' & ( 'rat' | !'cat' )"]),
    ("jsonpath", "jsonpath", &["$.\"a\"[*]?(@.\"b\" > 1)"]),
    ("bit(3)", "bit(3)", &["101", "000"]),
    ("bit", "bit(1)", &["1", "0"]),
    ("bit varying(5)", "bit varying", &["", "1", "10101"]),
];

pub(in crate::postgres) const TIMES: &[Case] = &[
    ("date", "date", &["4713-01-01 BC", "0001-12-31 BC", "0001-01-01", "1969-12-31", "2000-02-29", "5874897-12-31"]),
    ("time", "time without time zone", &["00:00:00", "23:59:59.999999", "12:00:00.5"]),
    ("time(0)", "time without time zone", &["23:59:59"]),
    ("timetz", "time with time zone", &["24:00:00+00", "12:30:00.000001+05:30", "00:00:00-15:59"]),
    (
        "timestamp",
        "timestamp without time zone",
        &["4713-11-25 00:00:00 BC", "0044-03-15 12:00:00 BC", "1969-12-31 23:59:59.999999", "294246-12-31 23:59:59.999999"],
    ),
    (
        "timestamptz",
        "timestamp with time zone",
        &["4713-11-25 00:00:00+00 BC", "2024-03-31 02:30:00+02", "1969-12-31 23:59:59.999999+00", "12000-01-01 00:00:00+00"],
    ),
    (
        "interval",
        "interval",
        &[
            "1 year 2 mons -3 days 04:05:06.789012",
            "-1 mons +2 days -00:00:00.000001",
            "178000000 years",
            "2562047:47:16.854775",
            "-2562047:47:16.854775",
            "00:00:00",
        ],
    ),
];

pub(in crate::postgres) const OTHERS: &[Case] = &[
    ("inet", "inet", &["192.168.0.1", "192.168.0.1/24", "10.0.0.0/8", "::1", "2001:db8::/32"]),
    ("cidr", "cidr", &["192.168.0.0/24", "10.1.2.3/32", "2001:db8::/64"]),
    ("macaddr", "macaddr", &["08:00:2b:01:02:03"]),
    ("macaddr8", "macaddr8", &["08:00:2b:01:02:03:04:05"]),
    ("pg_lsn", "pg_lsn", &["16/B374D848"]),
    ("point", "point", &["(1.5,-2)", "(NaN,Infinity)"]),
    ("line", "line", &["{1,2,3}"]),
    ("lseg", "lseg", &["[(0,0),(1,0.1)]"]),
    ("box", "box", &["(2,2),(0,0)"]),
    ("path", "path", &["((0,0),(1,1))", "[(0,0),(1,1)]"]),
    ("polygon", "polygon", &["((0,0),(1,1),(2,0))"]),
    ("circle", "circle", &["<(0.1,0),5>"]),
    ("int4range", "int4range", &["empty", "[1,5)", "(,)", "[7,)"]),
    ("numrange", "numrange", &["(1.10,2.200]"]),
    ("tstzrange", "tstzrange", &["[\"2024-01-01 00:00:00+00\",)"]),
    ("daterange", "daterange", &["[2024-01-01,infinity)"]),
    ("int8multirange", "int8multirange", &["{}", "{[1,3),[5,9)}"]),
    // Types that users make arrive as their text.
    ("mood", "text", &["so la la", "it's ok", "gl🙂d"]),
    ("code", "text", &["ab", "日本語"]),
    ("price", "numeric(8,2)", &["0.00", "999999.99"]),
    ("pair", "text", &["(1,\"a,b\")", "(,)", "(2,\"say \"\"hi\"\"\")"]),
    ("public.circle", "text", &["(1,2)", "(,x)"]),
    ("floatrange", "text", &["[1.5,2.5)"]),
    ("hstore", "text", &["\"a\"=>\"1\", \"b\"=>NULL", ""]),
    ("citext", "text", &["MiXed"]),
];

pub(in crate::postgres) const ARRAYS: &[Case] = &[
    ("int[]", "integer[]", &["{}", "{1,NULL,-3}", "{NULL}"]),
    ("text[]", "text[]", &["{}", "{\"\",NULL,\"NULL\",\"a,b\",\"c\\\"d\",\"e\\\\f\",\"{g}\",\"line\nbreak\",\" \"}"]),
    ("varchar(3)[]", "character varying(3)[]", &["{abc,日本語}"]),
    ("char(3)[]", "character(3)[]", &["{a,abc}"]),
    ("boolean[]", "boolean[]", &["{t,f,NULL}"]),
    ("float8[]", "double precision[]", &["{NaN,-Infinity,0.1,-0}"]),
    ("numeric(8,3)[]", "numeric(8,3)[]", &["{1.500,NULL,-99999.999}"]),
    ("bytea[]", "bytea[]", &["{\"\\\\x00ff\",\"\\\\x\"}"]),
    ("uuid[]", "uuid[]", &["{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11,NULL}"]),
    ("date[]", "date[]", &["{\"4713-01-01 BC\",2024-02-29}"]),
    ("timestamptz[]", "timestamp with time zone[]", &["{\"2024-01-01 00:00:00.000001+00\",NULL}"]),
    ("interval[]", "interval[]", &["{\"1 mon -1 days\",-00:00:01}"]),
    ("jsonb[]", "jsonb[]", &["{\"{\\\"a\\\": [1, null]}\",\"null\",NULL}"]),
    ("inet[]", "inet[]", &["{10.0.0.1,10.0.0.0/8}"]),
    ("bit(2)[]", "bit(2)[]", &["{10,01}"]),
    ("numrange[]", "numrange[]", &["{\"[1.5,2)\",empty}"]),
    ("mood[]", "text[]", &["{\"so la la\",NULL}"]),
    ("price[]", "numeric(8,2)[]", &["{1.00,2.50}"]),
    ("pair[]", "text[]", &["{\"(1,a)\",\"(2,\\\"b c\\\")\"}"]),
];

pub(in crate::postgres) const USER_TYPES: &str = "CREATE EXTENSION hstore; CREATE EXTENSION citext; CREATE TYPE mood AS ENUM ('so la la', 'it''s ok', 'gl🙂d'); \
     CREATE DOMAIN code AS varchar(5); CREATE DOMAIN price AS numeric(8,2) CHECK (value >= 0); CREATE TYPE pair AS (a int, b text); \
     CREATE TYPE public.circle AS (x int, y text); CREATE TYPE floatrange AS RANGE (subtype = float8)";

/// Rows as the server prints them, by cast and by output function: for some types the two differ.
fn printed(table: &str) -> String {
    format!("SELECT id, v::text, format('%s', v) FROM {table}")
}

fn kind_of(database: &Database, table: &str) -> String {
    let sql = format!(
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = '{table}'::regclass AND attname = 'v'"
    );
    database.value(sql).unwrap()
}

/// Copies each case and collects what is different.
async fn check(cases: &[Case]) {
    let database = database();
    database.execute(USER_TYPES).unwrap();
    let mut wrong = Vec::new();
    for (at, (kind, becomes, literals)) in cases.iter().enumerate() {
        for (form, beside) in [("binary", ""), ("text", ", x inet DEFAULT '10.0.0.1'")] {
            let (from, to) = (format!("{form}_{at}"), format!("{form}_{at}_copy"));
            let rows: Vec<String> =
                literals.iter().enumerate().map(|(id, text)| format!("({id}, '{}')", text.replace('\'', "''"))).collect();
            let sql = format!(
                "CREATE TABLE {from} (id int, v {kind}{beside}); INSERT INTO {from} VALUES {}, (99, NULL)",
                rows.join(", ")
            );
            database.execute(sql).unwrap();
            match copy(&database, &from, &to, OnLoss::default()).await {
                Err(error) => wrong.push(format!("{kind} in {form} form: {error}")),
                Ok(taken) if !taken.dead.is_empty() => wrong.push(format!("{kind}: {}", taken.dead[0].reason)),
                Ok(_) => {
                    let (before, after) = (server_lines(&database, &printed(&from)), server_lines(&database, &printed(&to)));
                    if before != after || before.len() != literals.len() + 1 {
                        wrong.push(format!("{kind} in {form} form:\n  {before:?}\n  {after:?}"));
                    }
                    let made = kind_of(&database, &to);
                    if made != *becomes {
                        wrong.push(format!("{kind} became {made}, not {becomes}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn numbers_arrive_as_the_server_prints_them() {
    check(NUMBERS).await;
}

#[tokio::test]
async fn texts_and_documents_arrive_as_the_server_prints_them() {
    check(TEXTS).await;
}

#[tokio::test]
async fn dates_and_times_arrive_as_the_server_prints_them() {
    check(TIMES).await;
}

#[tokio::test]
async fn networks_ranges_geometry_and_user_types_arrive_as_the_server_prints_them() {
    check(OTHERS).await;
}

#[tokio::test]
async fn arrays_arrive_as_the_server_prints_them() {
    check(ARRAYS).await;
}

#[tokio::test]
async fn money_arrives_as_its_number_in_a_new_table_and_as_money_in_an_old_one() {
    let database = database();
    database.execute("CREATE TABLE m (id int, v money); CREATE TABLE kept (id int, v money)").unwrap();
    let extremes = "(1, '-92233720368547758.08'), (2, '92233720368547758.07'), (3, '0.01'), (4, NULL)";
    database.execute(format!("INSERT INTO m VALUES {extremes}")).unwrap();
    copy(&database, "m", "fresh", OnLoss::default()).await.unwrap();
    copy(&database, "m", "kept", OnLoss::default()).await.unwrap();
    assert_eq!(kind_of(&database, "fresh"), "numeric(19,2)");
    assert_eq!(server_lines(&database, "SELECT id, v FROM fresh"), server_lines(&database, "SELECT id, v::numeric FROM m"));
    assert_eq!(server_lines(&database, "SELECT id, v FROM kept"), server_lines(&database, "SELECT id, v FROM m"));
}

#[tokio::test]
async fn text_goes_back_into_the_types_that_users_made() {
    let database = database();
    database.execute(USER_TYPES).unwrap();
    let columns = "a mood, b code, c pair, d floatrange, e hstore, f citext, g public.circle, h mood[], i pair[]";
    database.execute(format!("CREATE TABLE u (id int, {columns}); CREATE TABLE twin (LIKE u)")).unwrap();
    database
        .execute(
            "INSERT INTO u VALUES (1, 'it''s ok', 'ab', '(1,\"a,b\")', '[1.5,2)', 'a=>1', 'Mi', '(1,x)', '{gl🙂d,NULL}', '{\"(1,z)\"}'), \
             (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
        )
        .unwrap();
    copy(&database, "u", "twin", OnLoss::default()).await.unwrap();
    assert_eq!(server_lines(&database, "SELECT twin FROM twin"), server_lines(&database, "SELECT u FROM u"));
}

/// A row of random values of many types, made by the server; about one in nine is NULL.
fn random_rows(seed: f64, beside: &str) -> String {
    let maybe = |value: &str| format!("CASE WHEN random() < 0.11 THEN NULL ELSE {value} END");
    let word = "(SELECT string_agg(chr(1 + (random() * 11000)::int), '') FROM generate_series(1, (random() * 12 + i * 0)::int))";
    let columns = [
        ("boolean", "random() < 0.5".to_string()),
        ("smallint", "random() * 65535 - 32768".into()),
        ("integer", "random() * 4294967295 - 2147483648".into()),
        ("bigint", "('x' || substr(md5(random()::text), 1, 16))::bit(64)::bigint".into()),
        ("real", "((random() - 0.5) * power(10::float8, random() * 70 - 35))::float4".into()),
        ("double precision", "(random() - 0.5) * power(10::float8, random() * 600 - 300)".into()),
        ("numeric(20,6)", "(random() - 0.5)::numeric * power(10::numeric, (random() * 14)::int)".into()),
        ("numeric(60,10)", "(random() - 0.5)::numeric * power(10::numeric, (random() * 49)::int)".into()),
        ("text", word.into()),
        ("varchar(7)", format!("left({word}, 7)")),
        ("char(9)", "left(md5(random()::text), (random() * 9)::int)".into()),
        ("bytea", "decode(repeat(md5(random()::text), (random() * 3)::int), 'hex')".into()),
        ("date", "date '0001-01-01' + ((random() - 0.3) * 2000000)::int".into()),
        ("time", "time '00:00' + random() * interval '86399.9 seconds'".into()),
        ("timestamp", "timestamp '1970-01-01' + (random() - 0.4) * interval '4000 years'".into()),
        ("timestamptz", "timestamptz '1970-01-01' + (random() - 0.4) * interval '4000 years'".into()),
        (
            "interval",
            "make_interval(((random() - 0.5) * 99)::int, 0, 0, ((random() - 0.5) * 999)::int, 0, 0, (random() - 0.5) * 1e9)"
                .into(),
        ),
        ("uuid", "md5(random()::text)::uuid".into()),
        ("json", format!("json_build_object('k', random(), 't', {word})")),
        ("jsonb", format!("jsonb_build_array(random(), {word}, NULL)")),
        ("int[]", "ARRAY[(random() * 1e9)::int, NULL, (random() * 9)::int]".into()),
        ("text[]", format!("ARRAY[{word}, NULL, {word}]")),
    ];
    let types: Vec<String> = columns.iter().enumerate().map(|(at, (kind, _))| format!("c{at} {kind}")).collect();
    let values: Vec<String> = columns.iter().map(|(_, value)| maybe(value)).collect();
    format!(
        "SELECT setseed({seed}); CREATE TABLE random (id int, {}{beside}); INSERT INTO random SELECT i, {} FROM generate_series(1, 1500) AS i",
        types.join(", "),
        values.join(", ")
    )
}

#[tokio::test]
async fn random_rows_have_the_same_digest_after_the_journey() {
    for (seed, beside) in [(0.25, ""), (-0.75, ""), (0.5, ", address inet DEFAULT '10.0.0.1'")] {
        let database = database();
        database.execute(random_rows(seed, beside)).unwrap();
        let taken = copy(&database, "random", "arrived", OnLoss::default()).await.unwrap();
        assert!(taken.dead.is_empty(), "seed {seed}: {}", taken.dead[0].reason);
        let digest = |table: &str| {
            let sql = format!("SELECT count(*), md5(string_agg(t::text, E'\\n' ORDER BY id)) FROM {table} t");
            database.rows(sql).unwrap()
        };
        let expected = digest("random");
        assert_eq!(expected[0][0].as_deref(), Some("1500"));
        assert_eq!(digest("arrived"), expected, "seed {seed}");
    }
}

#[tokio::test]
async fn unbounded_numbers_keep_every_digit_as_text() {
    let database = database();
    let all =
        ["NaN", "Infinity", "-Infinity", "0", "-0.000", "1e-200", "1.10", "9e500", "-12345678901234567890.123456789012345678901"];
    let rows: Vec<String> =
        all.iter().enumerate().map(|(id, text)| format!("({id}, '{text}', ARRAY['{text}'::numeric, NULL])")).collect();
    database
        .execute(format!("CREATE TABLE n (id int, v numeric, w numeric[]); INSERT INTO n VALUES {}", rows.join(", ")))
        .unwrap();
    let taken = copy(&database, "n", "n_copy", as_text(&["v", "w"])).await.unwrap();
    assert!(taken.dead.is_empty());
    assert_eq!(
        server_lines(&database, "SELECT id, v::text, w::text FROM n_copy"),
        server_lines(&database, "SELECT id, v::text, w::text FROM n")
    );
    assert_eq!(values(&database, "SELECT v::text FROM n_copy WHERE id = 8"), [all[8]]);
    assert_eq!(kind_of(&database, "n_copy"), "numeric");
}
