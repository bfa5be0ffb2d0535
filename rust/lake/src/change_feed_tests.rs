//! Every way to read changes is held against the counted difference of two versions.

use proptest::prelude::*;

use crate::fixtures::Fixture;
use crate::test_rows::{Bag, Row, add_rows, difference, rows};
use crate::test_tables::TestTable;
use crate::{
    ChangeFeed, FeedKind, FeedPolicy, Lake, LakeError, LakeOptions, PartWeight, TableIdentity, reference_difference,
};

pub(crate) fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(future)
}

fn lake() -> Lake {
    Lake::new(LakeOptions::default())
}

async fn feed(table: &TestTable, after: u64, upto: u64, force: Option<FeedKind>) -> Result<ChangeFeed, LakeError> {
    let policy = FeedPolicy { force, ..FeedPolicy::default() };
    lake().change_feed(&table.location(), after, upto, None, &policy).await
}

async fn total(feed: &ChangeFeed) -> Bag {
    let mut sum = Bag::new();
    for part in &feed.parts {
        add_rows(&mut sum, part.provider.clone(), part.weight).await;
    }
    sum.retain(|_, count| *count != 0);
    sum
}

/// Rows that the scans of a feed read, before they cancel.
async fn rows_read(feed: &ChangeFeed) -> i64 {
    let mut read = 0;
    for part in &feed.parts {
        let mut bag = Bag::new();
        add_rows(&mut bag, part.provider.clone(), PartWeight::Plus).await;
        read += bag.values().sum::<i64>();
    }
    read
}

fn table() -> TestTable {
    let mut table = TestTable::new(false);
    table.append(&rows(0..20, 1));
    table
}

#[test]
fn appended_files_are_inserts_alone() {
    let mut table = table();
    table.append(&rows(20..23, 2));
    run(async {
        let feed = feed(&table, 1, 2, None).await.unwrap();
        assert_eq!(feed.kind, FeedKind::InsertOnly);
        assert_eq!(feed.parts.len(), 1);
        assert_eq!(rows_read(&feed).await, 3);
        assert_eq!(total(&feed).await, difference(&table.bag(2), &table.bag(1)));
    });
}

#[test]
fn a_range_of_compactions_is_empty() {
    let mut table = table();
    table.append(&rows(20..23, 2));
    table.compact();
    run(async {
        let feed = feed(&table, 2, 3, None).await.unwrap();
        assert_eq!(feed.kind, FeedKind::Empty);
        assert!(feed.parts.is_empty() && feed.added.is_empty());
    });
}

#[test]
fn an_append_before_a_compaction_is_not_lost() {
    let mut table = table();
    table.append(&rows(20..23, 2));
    table.compact();
    run(async {
        let feed = feed(&table, 1, 3, None).await.unwrap();
        assert_eq!(feed.kind, FeedKind::Difference);
        assert_eq!(total(&feed).await, difference(&table.bag(3), &table.bag(1)));
    });
}

#[test]
fn of_a_changed_vector_only_the_difference_is_read() {
    let mut table = table();
    table.delete_by_vector(false, |row| row.id == Some(3));
    table.delete_by_vector(true, |row| row.id.is_some_and(|id| id < 6));
    table.restore(2);
    run(async {
        let deleted = feed(&table, 2, 3, None).await.unwrap();
        assert_eq!(deleted.kind, FeedKind::Difference);
        assert_eq!(rows_read(&deleted).await, 5);
        assert_eq!(total(&deleted).await, difference(&table.bag(3), &table.bag(2)));
        let restored = feed(&table, 3, 4, None).await.unwrap();
        assert_eq!(rows_read(&restored).await, 5);
        assert_eq!(total(&restored).await, difference(&table.bag(4), &table.bag(3)));
    });
}

#[test]
fn change_files_of_a_trusted_writer_are_read() {
    let mut table = TestTable::new(true);
    table.records_changes = true;
    table.append(&rows(0..500, 1));
    table.rewrite(|row| (row.id != Some(3)).then(|| row.clone()));
    table.delete_by_vector(false, |row| row.id == Some(5));
    run(async {
        let feed = feed(&table, 2, 3, Some(FeedKind::ChangeFiles)).await.unwrap();
        assert_eq!(feed.kind, FeedKind::ChangeFiles);
        assert_eq!(feed.parts.len(), 1);
        assert_eq!(feed.parts[0].weight, PartWeight::ChangeType);
        assert_eq!(total(&feed).await, difference(&table.bag(3), &table.bag(2)));
    });
}

#[test]
fn change_files_of_strangers_are_not_trusted() {
    let mut table = TestTable::new(true);
    table.records_changes = true;
    table.append(&rows(0..20, 1));
    table.records_changes = false;
    table.delete_by_vector(false, |row| row.id == Some(5));
    run(async {
        let refused = feed(&table, 1, 2, Some(FeedKind::ChangeFiles)).await.unwrap_err();
        assert_eq!(refused.code(), "invalid_argument");
    });
    let policy = FeedPolicy { trusted_writers: vec!["someone/".into()], force: None };
    assert!(policy.trusts(Some("someone/1.0")) && !policy.trusts(Some("else")) && !policy.trusts(None));
}

#[test]
fn an_added_column_is_null_in_old_rows_and_a_dropped_one_is_refused() {
    let mut table = table();
    table.add_column();
    table.rewrite(|row| Some(Row { extra: row.id, ..row.clone() }).filter(|row| row.id != Some(1)));
    table.restore(1);
    run(async {
        let added = feed(&table, 1, 3, None).await.unwrap();
        assert_eq!(total(&added).await, difference(&table.bag(3), &table.bag(1)));
        let dropped = feed(&table, 3, 4, None).await.unwrap_err();
        assert_eq!(dropped.code(), "schema_changed");
        // The schema changed in between and is the old one again.
        let back = feed(&table, 1, 4, None).await.unwrap();
        assert_eq!(back.kind, FeedKind::Empty);
    });
}

#[test]
fn what_is_gone_is_told_before_anything_is_read() {
    let mut table = table();
    let doomed = table.paths();
    table.overwrite(&rows(0..3, 1));
    table.append(&rows(3..6, 1));
    run(async {
        let identity = lake().identity(&table.location(), 1).await.unwrap();
        let policy = FeedPolicy::default();
        let same = lake().change_feed(&table.location(), 1, 3, Some(&identity), &policy).await;
        assert_eq!(same.unwrap().kind, FeedKind::Difference);
        for stranger in [
            TableIdentity { table_id: "other".into(), ..identity.clone() },
            TableIdentity { commit_hash: Some("other".into()), ..identity.clone() },
        ] {
            let replaced = lake().change_feed(&table.location(), 1, 3, Some(&stranger), &policy).await;
            assert_eq!(replaced.unwrap_err().code(), "table_replaced");
        }
        for path in doomed {
            std::fs::remove_file(table.path().join(path)).unwrap();
        }
        assert_eq!(feed(&table, 1, 3, None).await.unwrap_err().code(), "history_gone");
        // What came after needs none of the vacuumed files.
        assert_eq!(feed(&table, 2, 3, None).await.unwrap().kind, FeedKind::InsertOnly);
    });
}

#[test]
fn a_cleaned_log_is_told_and_what_came_after_it_is_read() {
    let table = Fixture::new(&[("delta.checkpointInterval", "2")]);
    run(async {
        let mut version = table.append(None, &[0]).await;
        for id in 1..6 {
            version = table.append(Some(version), &[id]).await;
        }
        for cleaned in 0..4 {
            std::fs::remove_file(table.entry(cleaned)).unwrap();
        }
        let feed = async |after| {
            let policy = FeedPolicy::default();
            lake().change_feed(table.location(), after, version, None, &policy).await
        };
        assert_eq!(feed(1).await.unwrap_err().code(), "history_gone");
        assert_eq!(feed(4).await.unwrap().kind, FeedKind::InsertOnly);
    });
}

#[derive(Clone, Debug)]
pub(crate) enum Step {
    Append(Vec<Row>),
    Rewrite(i64),
    Update(i64),
    Merge(i64, Vec<Row>),
    Vector(i64, bool),
    Overwrite(Vec<Row>),
    Compact,
    Restore(u64),
    AddColumn,
    Statistics(bool),
    Records(bool),
}

fn row() -> impl Strategy<Value = Row> {
    let name = prop::option::of(prop::sample::select(vec!["a", "b", "a longer name that is no inline view"]));
    (prop::option::of(0..6_i64), prop::option::of(0..3_i32), name, prop::option::of(0..2_i64))
        .prop_map(|(id, part, name, extra)| Row { id, part, name: name.map(str::to_owned), extra })
}

pub(crate) fn step() -> impl Strategy<Value = Step> {
    let rows = || prop::collection::vec(row(), 0..14);
    prop_oneof![
        4 => rows().prop_map(Step::Append),
        2 => (0..6_i64).prop_map(Step::Rewrite),
        2 => (0..6_i64).prop_map(Step::Update),
        2 => ((0..6_i64), rows()).prop_map(|(id, rows)| Step::Merge(id, rows)),
        4 => (0..6_i64, any::<bool>()).prop_map(|(id, inline)| Step::Vector(id, inline)),
        1 => rows().prop_map(Step::Overwrite),
        1 => Just(Step::Compact),
        1 => (0..8_u64).prop_map(Step::Restore),
        1 => Just(Step::AddColumn),
        1 => any::<bool>().prop_map(Step::Statistics),
        1 => any::<bool>().prop_map(Step::Records),
    ]
}

pub(crate) fn apply(table: &mut TestTable, step: Step) {
    match step {
        Step::Append(rows) => table.append(&rows),
        Step::Rewrite(id) => table.rewrite(|row| (row.id != Some(id)).then(|| row.clone())),
        Step::Update(id) => table.rewrite(|row| Some(renamed(row, id))),
        Step::Merge(id, rows) => table.merge(|row| Some(renamed(row, id)), &rows),
        Step::Vector(id, inline) => table.delete_by_vector(inline, |row| row.id == Some(id)),
        Step::Overwrite(rows) => table.overwrite(&rows),
        Step::Compact => table.compact(),
        Step::Restore(version) => table.restore(version % (table.version() + 1)),
        Step::AddColumn => table.add_column(),
        Step::Statistics(present) => table.statistics = present,
        Step::Records(records) => table.records_changes = records,
    }
}

/// The row, under another name if it has this id.
fn renamed(row: &Row, id: i64) -> Row {
    let name = if row.id == Some(id) { Some("changed".into()) } else { row.name.clone() };
    Row { name, ..row.clone() }
}

/// Reads `(after, upto]` in every way that applies and compares each with the difference of the two versions.
async fn check_range(table: &TestTable, after: u64, upto: u64) {
    let wanted = difference(&table.bag(upto), &table.bag(after));
    let kinds = [
        None,
        Some(FeedKind::Empty),
        Some(FeedKind::InsertOnly),
        Some(FeedKind::ChangeFiles),
        Some(FeedKind::Difference),
    ];
    for force in kinds {
        match feed(table, after, upto, force).await {
            Ok(feed) => assert_eq!(total(&feed).await, wanted, "({after}, {upto}] as {force:?}"),
            Err(error) if error.code() == "schema_changed" => {
                assert!(table.has_extra(after) && !table.has_extra(upto), "{error}");
                return;
            }
            Err(error) => assert!(force.is_some() && error.code() == "invalid_argument", "{error}"),
        }
    }
    let lake = lake();
    let before = lake.snapshot(&table.location(), Some(after)).await.unwrap();
    let now = lake.snapshot(&table.location(), Some(upto)).await.unwrap();
    let reference = reference_difference(&lake, &before, &now).unwrap();
    assert_eq!(total(&reference).await, wanted, "({after}, {upto}] by the reference");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn every_way_to_read_a_range_gives_the_difference_of_its_ends(
        partitioned in any::<bool>(),
        records in any::<bool>(),
        steps in prop::collection::vec(step(), 1..9),
        ranges in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..4),
    ) {
        let mut table = TestTable::new(partitioned);
        table.records_changes = records;
        for step in steps {
            apply(&mut table, step);
        }
        run(async {
            let versions = usize::try_from(table.version()).unwrap() + 1;
            for (one, other) in ranges {
                let (one, other) = (one.index(versions) as u64, other.index(versions) as u64);
                check_range(&table, one.min(other), one.max(other)).await;
            }
            check_range(&table, 0, table.version()).await;
        });
    }
}
