//! Goal: large values are stored once, by content, and read back as they were. Method: text, JSON and bytes around the
//! inline limit, the same bytes from many callers.

use foldlog::{BlobEncoding, BlobKind, Content, Digest, ErrorKind, Json};
use futures::future::join_all;

use crate::common::*;

on_both_media!(
    text_json_and_bytes_come_back_as_they_were,
    a_reference_says_digest_length_and_kind,
    equal_bytes_are_one_blob_for_all_sessions_and_stores,
    text_up_to_the_limit_stays_inline_and_longer_text_becomes_a_blob,
    the_limit_counts_utf8_bytes,
    json_is_interned_by_its_canonical_text,
    a_blob_that_is_not_there_is_an_error_of_its_own,
    bytes_that_are_no_text_are_not_read_as_content,
    a_blob_over_the_limit_is_refused_and_not_stored,
);

async fn text_json_and_bytes_come_back_as_they_were(disk: TestDisk) {
    let store = disk.open().await;
    let json = Json::parse(r#"{"b":[1.50,null,true],"a":"\u00e9 \u0001"}"#).unwrap();
    let all_bytes: Vec<u8> = (0..=255).collect();
    let text = store.put_text("späti\n\u{0}").await.unwrap();
    let value = store.put_json(json.clone()).await.unwrap();
    let bytes = store.put_bytes(all_bytes.clone()).await.unwrap();
    let empty = store.put_bytes(Vec::new()).await.unwrap();
    store.close().await.unwrap();
    let store = disk.open().await;
    assert_eq!(store.get_bytes(text.digest).await.unwrap(), "späti\n\u{0}".as_bytes());
    assert_eq!(store.read_content(&Content::Blob(text)).await.unwrap(), "späti\n\u{0}");
    assert_eq!(store.read_content(&Content::Blob(value)).await.unwrap(), json.as_str());
    assert_eq!(store.get_bytes(bytes.digest).await.unwrap(), all_bytes);
    assert_eq!(store.get_bytes(empty.digest).await.unwrap(), b"");
    store.close().await.unwrap();
}

async fn a_reference_says_digest_length_and_kind(disk: TestDisk) {
    let store = disk.open().await;
    let blob = store.put_text("späti").await.unwrap();
    assert_eq!(blob.digest.as_bytes(), blake3::hash("späti".as_bytes()).as_bytes());
    assert_eq!((blob.bytes, blob.kind, blob.encoding), (6, BlobKind::Text, BlobEncoding::Plain));
    assert_eq!(store.put_json(Json::parse("[ 1 ]").unwrap()).await.unwrap().kind, BlobKind::Json);
    assert_eq!(store.put_bytes(vec![0; 3]).await.unwrap().kind, BlobKind::Bytes);
    store.close().await.unwrap();
}

async fn equal_bytes_are_one_blob_for_all_sessions_and_stores(disk: TestDisk) {
    let (store, other) = (disk.open().await, disk.open().await);
    let puts = (0..20).flat_map(|_| [store.put_text("same"), other.put_text("same")]);
    let refs: Vec<_> = join_all(puts).await.into_iter().map(Result::unwrap).collect();
    assert!(refs.iter().all(|blob| *blob == refs[0]));
    let as_bytes = other.put_bytes(b"same".to_vec()).await.unwrap();
    assert_ne!(as_bytes, refs[0], "another kind is another reference");
    assert_eq!(as_bytes.digest, refs[0].digest, "to the same bytes");
    if let Some(path) = disk.path() {
        let files = std::fs::read_dir(path.join("blobs")).unwrap();
        let files: Vec<_> = files.flat_map(|shard| std::fs::read_dir(shard.unwrap().path()).unwrap()).collect();
        let name = files[0].as_ref().unwrap().file_name();
        assert_eq!((files.len(), name.to_str().unwrap()), (1, &*refs[0].digest.to_string()));
    }
    store.close().await.unwrap();
    assert_eq!(other.get_bytes(refs[0].digest).await.unwrap(), b"same");
    other.close().await.unwrap();
}

async fn text_up_to_the_limit_stays_inline_and_longer_text_becomes_a_blob(disk: TestDisk) {
    let store = disk.open_with(|config| config.inline_bytes_max = 512).await;
    for len in [0, 1, 511, 512] {
        let text = "x".repeat(len);
        assert_eq!(store.intern_text(&text).await.unwrap(), Content::Inline(text));
    }
    let text = "x".repeat(513);
    let content = store.intern_text(&text).await.unwrap();
    assert_eq!(content.as_blob().map(|blob| (blob.kind, blob.bytes)), Some((BlobKind::Text, 513)));
    assert_eq!(store.read_content(&content).await.unwrap(), text);
    store.close().await.unwrap();
    let store = disk.open().await;
    let at_default = store.intern_text("x".repeat(foldlog::DEFAULT_INLINE_BYTES_MAX)).await.unwrap();
    assert!(at_default.as_inline().is_some());
    let above = store.intern_text("x".repeat(foldlog::DEFAULT_INLINE_BYTES_MAX + 1)).await.unwrap();
    assert!(above.as_blob().is_some());
    store.close().await.unwrap();
}

async fn the_limit_counts_utf8_bytes(disk: TestDisk) {
    let store = disk.open_with(|config| config.inline_bytes_max = 512).await;
    let text = "\u{754c}".repeat(300);
    let content = store.intern_text(&text).await.unwrap();
    assert_eq!(content.as_blob().unwrap().bytes, 900);
    assert_eq!(store.read_content(&content).await.unwrap(), text);
    assert!(store.intern_text("x".repeat(300)).await.unwrap().as_inline().is_some());
    store.close().await.unwrap();
}

async fn json_is_interned_by_its_canonical_text(disk: TestDisk) {
    let store = disk.open_with(|config| config.inline_bytes_max = 512).await;
    let string = |len: usize| Json::parse(&format!("{}\"{}\"", " ".repeat(600), "x".repeat(len - 2))).unwrap();
    let inline = store.intern_json(string(512)).await.unwrap();
    assert_eq!(inline.as_inline().unwrap().len(), 512, "the white space does not count");
    let blob = *store.intern_json(string(513)).await.unwrap().as_blob().unwrap();
    assert_eq!((blob.kind, blob.bytes), (BlobKind::Json, 513));
    let numbers = (0..1000).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    let value = Json::parse(&format!("[{numbers}]")).unwrap();
    let content = store.intern_json(value.clone()).await.unwrap();
    assert_eq!(Json::parse(&store.read_content(&content).await.unwrap()).unwrap(), value);
    for small in ["42", "null", "true", "\"short\"", r#"{"a":1,"b":2}"#] {
        assert_eq!(store.intern_json(Json::parse(small).unwrap()).await.unwrap(), Content::from(small));
    }
    let long = "x".repeat(600);
    let one = store.intern_json(Json::parse(&format!(r#"{{"a":1, "b":"{long}"}}"#)).unwrap()).await.unwrap();
    let two = store.intern_json(Json::parse(&format!(r#"{{"b":"{long}","a":1}}"#)).unwrap()).await.unwrap();
    assert_eq!(one, two, "equal values share one blob");
    store.close().await.unwrap();
}

async fn a_blob_that_is_not_there_is_an_error_of_its_own(disk: TestDisk) {
    let store = disk.open().await;
    let missing = dangling();
    let refused = store.get_bytes(missing.digest).await;
    assert_refused!(refused, ErrorKind::UnknownBlob { digest } if *digest == missing.digest);
    assert_refused!(store.read_content(&Content::Blob(missing)).await, ErrorKind::UnknownBlob { .. });
    for text in ["", "..", "../../events.db", &missing.digest.to_string().to_uppercase()[..63]] {
        assert_refused!(text.parse::<Digest>(), ErrorKind::InvalidDigest { .. });
    }
    store.close().await.unwrap();
}

async fn bytes_that_are_no_text_are_not_read_as_content(disk: TestDisk) {
    let store = disk.open().await;
    let blob = store.put_bytes(vec![0xff, 0xfe]).await.unwrap();
    assert_refused!(store.read_content(&Content::Blob(blob)).await, ErrorKind::InvalidArgument { .. });
    assert_eq!(store.get_bytes(blob.digest).await.unwrap(), [0xff, 0xfe]);
    assert_eq!(store.read_content(&Content::from("inline")).await.unwrap(), "inline");
    store.close().await.unwrap();
}

async fn a_blob_over_the_limit_is_refused_and_not_stored(disk: TestDisk) {
    let small = |config: &mut foldlog::StoreConfig| (config.blob_bytes_max, config.inline_bytes_max) = (100, 10);
    let store = disk.open_with(small).await;
    let text = "x".repeat(101);
    let digest = Digest::from_bytes(*blake3::hash(text.as_bytes()).as_bytes());
    let bytes = store.put_bytes(text.clone().into_bytes()).await;
    assert_refused!(bytes, ErrorKind::TooLarge { size: 101, limit: 100, .. });
    assert_refused!(store.put_text(text.clone()).await, ErrorKind::TooLarge { .. });
    assert_refused!(store.intern_text(text).await, ErrorKind::TooLarge { .. });
    assert_refused!(store.get_bytes(digest).await, ErrorKind::UnknownBlob { digest: named } if *named == digest);
    for directory in disk.path().iter().flat_map(|path| [path.join("blobs"), path.join("tmp")]) {
        assert_eq!(files_below(&directory), [] as [std::path::PathBuf; 0]);
    }
    let blob = store.put_bytes(vec![b'x'; 100]).await.unwrap();
    assert_eq!(store.get_bytes(blob.digest).await.unwrap(), [b'x'; 100]);
    store.close().await.unwrap();
}

#[test]
fn a_digest_that_is_none_never_becomes_a_path() {
    let good = blake3::hash(b"x").to_string();
    for text in [
        "".to_owned(),
        "..".to_owned(),
        format!("../{}", &good[3..]),
        format!("{}/../x", &good[..59]),
        good.to_uppercase(),
        good[1..].to_owned(),
        format!("{good}0"),
        format!(" {}", &good[1..]),
        format!("{}\0", &good[1..]),
        good.replacen(|_| true, "é", 1),
        "g".repeat(64),
    ] {
        assert_refused!(text.parse::<Digest>(), ErrorKind::InvalidDigest { .. });
    }
    assert_eq!(good.parse::<Digest>().unwrap().to_string(), good);
}
