//! Goal: a backup goes only where it belongs, and says why it does not go elsewhere; damage in the store is named, and
//! what is there stays as it is. Method: each wrong place, and each wrong byte, by itself.

use super::*;
use foldlog::{Error, ErrorKind};

#[track_caller]
fn assert_says(error: &Error, words: &str) {
    assert!(matches!(error.kind(), ErrorKind::InvalidArgument { .. }), "{error:?}");
    assert!(error.to_string().contains(words), "{error}");
}

/// All files below a directory, with their bytes.
fn bytes_below(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    files_below(path).into_iter().map(|file| (file.clone(), std::fs::read(file).unwrap())).collect()
}

/// The files that are not the same.
fn changed(before: &[(PathBuf, Vec<u8>)], after: &[(PathBuf, Vec<u8>)]) -> Vec<PathBuf> {
    let of = |these: &[(PathBuf, Vec<u8>)], those: &[(PathBuf, Vec<u8>)]| -> Vec<PathBuf> {
        these.iter().filter(|it| !those.contains(it)).map(|it| it.0.clone()).collect()
    };
    [of(before, after), of(after, before)].concat()
}

#[actix::test]
async fn a_backup_goes_into_no_directory_that_is_something_else() {
    let places = Places::new();
    let store = open(&StoreConfig::directory(places.path("store"))).await;
    fill(&store, 1).await;
    let refused = async |path: PathBuf, words: &str| {
        assert_says(&soon(store.backup(path)).await.unwrap_err(), words);
    };
    refused(places.path("store"), "is the store itself").await;
    refused(places.path("store").join("backup"), "lies in the store").await;
    refused(places.path("store/blobs"), "lies in the store").await;
    refused(places.0.path().to_owned(), "holds the store").await;

    std::fs::create_dir(places.path("notes")).unwrap();
    std::fs::write(places.path("notes").join("todo.txt"), "x").unwrap();
    refused(places.path("notes"), "holds todo.txt").await;
    std::fs::write(places.path("file"), "x").unwrap();
    soon(store.backup(places.path("file"))).await.unwrap_err();

    // A store of this model, also beside a link to it; and one of another model.
    let other = open(&StoreConfig::directory(places.path("other"))).await;
    fill(&other, 1).await;
    soon(other.backup(places.path("of the other"))).await.unwrap();
    soon(other.close()).await.unwrap();
    let before = bytes_below(places.0.path());
    refused(places.path("other"), "is a store and not a backup").await;
    std::os::unix::fs::symlink(places.path("store"), places.path("link")).unwrap();
    refused(places.path("link"), "is the store itself").await;
    std::fs::remove_file(places.path("link")).unwrap();
    refused(places.path("of the other"), "is the backup of another store").await;
    let left = changed(&before, &bytes_below(places.0.path()));
    assert_eq!(left, Vec::<PathBuf>::new(), "what is refused is left as it is");
    let agents = Store::open(StoreConfig::directory(places.path("agents"))).await.unwrap();
    soon(agents.backup(places.path("of agents"))).await.unwrap();
    soon(agents.close()).await.unwrap();
    assert_refused!(soon(store.backup(places.path("of agents"))).await, ErrorKind::WrongModel { .. });

    // Empty ones, and those that a file system has put something into.
    std::fs::create_dir_all(places.path("disk").join("lost+found")).unwrap();
    soon(store.backup(places.path("disk"))).await.unwrap();
    soon(store.backup(places.path("new/below/new"))).await.unwrap();
    soon(store.close()).await.unwrap();
}

#[actix::test]
async fn a_backup_that_a_store_has_open_is_not_written() {
    let places = Places::new();
    let store = open(&StoreConfig::directory(places.path("store"))).await;
    fill(&store, 1).await;
    soon(store.backup(places.path("b"))).await.unwrap();
    // To read it is no reason to wait.
    let reader = read_only(&places.path("b")).await;
    fill(&store, 2).await;
    soon(store.backup(places.path("b"))).await.unwrap();
    assert_eq!(whole(&reader).await, whole_of(&places.path("store")).await);
    soon(reader.close()).await.unwrap();
    soon(store.close()).await.unwrap();
}

#[actix::test]
async fn a_damaged_event_is_named_and_the_backup_stays_as_it_was() {
    for (what, sql) in [
        ("record", "UPDATE events SET record = zeroblob(length(record)) WHERE position = 40"),
        ("chain", "UPDATE events SET chain = zeroblob(32) WHERE position = 40"),
        ("type", "UPDATE events SET event_type = 'other' WHERE position = 40"),
        ("no blob", "UPDATE events SET record = 'text' WHERE position = 40"),
        ("gone", "DELETE FROM events WHERE position = 40"),
        ("moved", "UPDATE events SET log_key = 3 WHERE position = 40"),
    ] {
        let places = Places::new();
        let store = open(&StoreConfig::directory(places.path("store"))).await;
        fill(&store, 1).await;
        soon(store.backup(places.path("b"))).await.unwrap();
        let before = whole_of(&places.path("b")).await;
        fill(&store, 2).await;
        soon(store.close()).await.unwrap();
        let session: String = {
            let connection = rusqlite::Connection::open(places.path("store").join("events.db")).unwrap();
            let select = "SELECT session_id FROM sessions JOIN events USING (log_key) WHERE position = 40";
            let session = connection.query_row(select, [], |row| row.get(0)).unwrap();
            connection
                .execute_batch(&format!("PRAGMA ignore_check_constraints = ON; {}", sql.replace("'text'", "x'01'")))
                .unwrap();
            session
        };
        let store = read_only(&places.path("store")).await;
        let error = soon(store.backup(places.path("b"))).await.unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::CorruptEvent { .. } | ErrorKind::CorruptStore { .. }),
            "{what}: {error:?}"
        );
        assert!(error.to_string().contains(&format!("session {session}")) || what == "moved", "{what}: {error}");
        assert_eq!(whole_of(&places.path("b")).await, before, "{what}");
        let error = soon(store.backup(places.path("new"))).await.unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::CorruptEvent { .. } | ErrorKind::CorruptStore { .. }),
            "{what}: {error:?}"
        );
        assert_refused!(
            Store::<Tally>::open_model(StoreConfig::directory(places.path("new"))).await,
            ErrorKind::UnsuitablePlace { .. }
        );
        soon(store.close()).await.unwrap();
    }
}

#[actix::test]
async fn a_blob_that_is_missing_or_damaged_is_named_with_its_event() {
    for damage in ["missing", "damaged", "short"] {
        let places = Places::new();
        let store = open(&StoreConfig::directory(places.path("store"))).await;
        fill(&store, 1).await;
        let session = store.open_session("s3").await.unwrap();
        let blob = store.put_bytes(vec![7; 5000]).await.unwrap();
        let event = append(&session, TallyBody::Attached(blob)).await.unwrap().head;
        let digest = blob.digest.to_string();
        let path = places.path("store").join("blobs").join(&digest[..2]).join(&digest);
        match damage {
            "missing" => std::fs::remove_file(&path).unwrap(),
            "damaged" => std::fs::write(&path, vec![8; 5000]).unwrap(),
            _ => std::fs::write(&path, vec![7; 500]).unwrap(),
        }
        let error = soon(store.backup(places.path("b"))).await.unwrap_err();
        assert_refused!(
            Err::<(), _>(error.clone()),
            ErrorKind::CorruptEvent { session, event: found, .. } if session.as_str() == "s3" && *found == event
        );
        assert!(error.to_string().contains(&digest), "{error}");
        // Put again, it is there.
        store.put_bytes(vec![7; 5000]).await.unwrap();
        soon(store.backup(places.path("b"))).await.unwrap();
        assert_eq!(whole_of(&places.path("b")).await, whole_of(&places.path("store")).await);
        soon(store.close()).await.unwrap();
    }
}

/// A store whose files were put back to an earlier time goes on differently.
#[actix::test]
async fn a_store_that_was_put_back_does_not_go_on_in_the_backup_of_its_later_self() {
    let places = Places::new();
    let config = StoreConfig::directory(places.path("store"));
    let store = open(&config).await;
    fill(&store, 1).await;
    soon(store.close()).await.unwrap();
    let earlier = bytes_below(&places.path("store"));
    let store = open(&config).await;
    fill(&store, 2).await;
    soon(store.backup(places.path("b"))).await.unwrap();
    let before = whole_of(&places.path("b")).await;
    soon(store.close()).await.unwrap();
    std::fs::remove_dir_all(places.path("store")).unwrap();
    for (file, bytes) in earlier {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, bytes).unwrap();
    }
    let store = open(&config).await;
    assert_says(&soon(store.backup(places.path("b"))).await.unwrap_err(), "later events than the store");
    fill(&store, 3).await;
    fill(&store, 4).await;
    assert_says(&soon(store.backup(places.path("b"))).await.unwrap_err(), "is another one in the store");
    assert_eq!(whole_of(&places.path("b")).await, before);
    soon(store.backup(places.path("c"))).await.unwrap();
    soon(store.close()).await.unwrap();
}

#[actix::test]
async fn an_unfinished_copy_is_refused_by_name_and_restored_from_never() {
    let places = Places::new();
    let store = open(&StoreConfig::directory(places.path("store"))).await;
    fill(&store, 1).await;
    soon(store.backup(places.path("b"))).await.unwrap();
    std::fs::write(places.path("b").join("UNFINISHED-COPY"), "").unwrap();
    let config = || StoreConfig::directory(places.path("b"));
    for error in [
        Store::<Tally>::open_model(config()).await.map(drop).unwrap_err(),
        Store::<Tally>::open_model_read_only(config()).await.map(drop).unwrap_err(),
        Store::<Tally>::restore_model(places.path("b"), places.path("r")).await.map(drop).unwrap_err(),
    ] {
        assert!(matches!(error.kind(), ErrorKind::UnsuitablePlace { .. }), "{error:?}");
        assert!(error.to_string().contains("was not finished"), "{error}");
    }
    soon(store.backup(places.path("b"))).await.unwrap();
    assert_eq!(whole_of(&places.path("b")).await, whole_of(&places.path("store")).await);
    soon(store.close()).await.unwrap();
}
