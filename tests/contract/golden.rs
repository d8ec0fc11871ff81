//! Goal: a body that was changed without a new schema is found before it meets a stored event. Method: builds of one
//! model whose bodies differ, held against one file.

use std::fs;

use foldlog::testkit::contract::{self, Claim};
use foldlog::{DecodeError, Event, SessionModel, decode_body};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A build of the model: its bodies and its schema.
struct Build<B, const SCHEMA: u16>(std::marker::PhantomData<fn() -> B>);

trait Typed: Clone + std::fmt::Debug + Send + Sync + Serialize + DeserializeOwned + 'static {
    fn event_type(&self) -> &'static str;
    /// How a body of schema 1 is decoded by a build of schema 2.
    fn decode_1(_: &[u8]) -> Result<Self, DecodeError> {
        Err(DecodeError::Unknown)
    }
}

impl<B: Typed, const SCHEMA: u16> SessionModel for Build<B, SCHEMA> {
    const NAME: &'static str = "orders";
    const SCHEMA: u16 = SCHEMA;
    type Body = B;
    type View = u64;
    type Counters = ();
    type Transient = ();

    fn event_type(body: &B) -> &'static str {
        body.event_type()
    }
    fn apply(count: &mut u64, _: &Event<Self>) {
        *count += 1;
    }
    fn decode(event_type: &str, schema: u16, bytes: &[u8]) -> Result<B, DecodeError> {
        match (event_type, schema) {
            ("added" | "paid", _) if schema == SCHEMA => decode_body(bytes),
            ("added" | "paid", 1) => B::decode_1(bytes),
            _ => Err(DecodeError::Unknown),
        }
    }
}

macro_rules! bodies {
    ($name:ident { $($variant:ident $fields:tt as $type:literal),* } $($decode_1:item)?) => {
        #[derive(Clone, Debug, Serialize, Deserialize)]
        enum $name { $($variant $fields),* }
        impl Typed for $name {
            fn event_type(&self) -> &'static str {
                match self { $(Self::$variant { .. } => $type),* }
            }
            $($decode_1)?
        }
    };
}

bodies!(First { Added { name: String, cents: u64 } as "added", Paid {} as "paid" });
bodies!(WithField { Added { name: String, cents: u64, count: u32 } as "added", Paid {} as "paid" }
    fn decode_1(bytes: &[u8]) -> Result<Self, DecodeError> {
        Ok(match decode_body(bytes)? {
            First::Added { name, cents } => Self::Added { name, cents, count: 1 },
            First::Paid {} => Self::Paid {},
        })
    }
);
bodies!(Reordered { Paid {} as "paid", Added { name: String, cents: u64 } as "added" });
bodies!(Swapped { Added { cents: u64, name: String } as "added", Paid {} as "paid" });

type Orders = Build<First, 1>;

fn first() -> [First; 3] {
    let added = |name: &str, cents| First::Added { name: name.to_owned(), cents };
    [added("book", 1900), First::Paid {}, added("pen", 90)]
}

fn with_field() -> [WithField; 2] {
    [WithField::Added { name: "book".to_owned(), cents: 1900, count: 2 }, WithField::Paid {}]
}

/// A file with the lines of schema 1, as committed.
struct Golden(tempfile::TempDir);

impl Golden {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn committed() -> Self {
        let golden = Self::new();
        golden.check::<Orders>(first()).unwrap_err();
        golden
    }

    fn path(&self) -> std::path::PathBuf {
        self.0.path().join("golden/orders.txt")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    /// The text of what is wrong.
    fn check<M: SessionModel>(&self, bodies: impl IntoIterator<Item = M::Body>) -> Result<(), String> {
        contract::golden_bytes::<M>(self.path(), bodies).map_err(|broken| {
            let text = broken.to_string();
            // Lines that are only added break nothing.
            let claim = if text.contains("breaks the contract") { Claim::GoldenBytes } else { Claim::GoldenLines };
            assert_eq!((broken.claim, broken.model, broken.seed), (claim, "orders", None));
            text
        })
    }
}

#[track_caller]
fn assert_told(told: Result<(), String>, parts: &[&str]) {
    let told = told.unwrap_err();
    for part in parts {
        assert!(told.contains(part), "no {part:?} in: {told}");
    }
}

#[test]
fn the_first_run_writes_a_line_for_each_body_and_asks_for_a_look() {
    let golden = Golden::new();
    let told = ["golden bytes of model orders: ", "orders.txt: 3 lines are new", "commit it", "\npaid 1 01\n"];
    assert_told(golden.check::<Orders>(first()), &told);
    let text = golden.text();
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines, ["added 1 0004626f6f6bfb6c07", "paid 1 01", "added 1 000370656e5a"]);
    assert_eq!(golden.check::<Orders>(first()), Ok(()));
    assert_eq!(golden.text(), text, "nothing is written when nothing is missing");
}

#[test]
fn a_body_that_changed_at_the_same_schema_is_found_and_the_file_stays() {
    let golden = Golden::committed();
    let text = golden.text();
    let [field, ..] = with_field();
    for told in [
        golden.check::<Build<WithField, 1>>([field]),
        golden.check::<Build<Reordered, 1>>([]),
        golden.check::<Build<Swapped, 1>>([]),
    ] {
        assert_told(told, &["line 3: added at schema 1 does not decode any more", "new SCHEMA", "kept in decode"]);
    }
    let [_, paid, pen] = first();
    let told = golden.check::<Orders>([First::Added { name: "book".to_owned(), cents: 1901 }, paid, pen]);
    assert_told(told, &["line 3: added", "other bytes at the same schema 1", "0004626f6f6bfb6d07", "Raise SCHEMA"]);
    assert_eq!(golden.text(), text);
}

#[test]
fn a_new_schema_adds_its_lines_and_those_of_the_old_one_must_still_decode() {
    let golden = Golden::committed();
    let old = golden.text();
    assert_told(golden.check::<Build<WithField, 2>>(with_field()), &["2 lines are new"]);
    assert!(golden.text().starts_with(&old), "what was there stays");
    assert_eq!(golden.check::<Build<WithField, 2>>(with_field()), Ok(()));
    // A build that forgot the old shape.
    assert_told(
        golden.check::<Build<First, 2>>([]),
        &["line 3: added at schema 1 does not decode any more", "decode does not know this type and schema"],
    );
}

#[test]
fn a_file_that_is_no_such_file_is_left_alone() {
    let golden = Golden::committed();
    for (text, told) in [("added one 00", "line 1 is not"), ("added 1 0", "line 1 is not"), ("added", "line 1 is not")]
    {
        fs::write(golden.path(), text).unwrap();
        assert_told(golden.check::<Orders>(first()), &[told]);
        assert_eq!(golden.text(), text);
    }
}
