use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use domain::time::At;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::sync::oneshot;

use crate::{Cache, Error};

const MINUTE: Duration = Duration::from_secs(60);
const NOW: At = At(1_000_000);
const LATER: At = At(1_060_000);

/// A read that finds how often it was made, or something else.
#[derive(Default)]
struct Reads(AtomicU32);

impl Reads {
    fn made(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    async fn find(&self) -> Result<Option<u32>, Error> {
        let made = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        tokio::task::yield_now().await;
        Ok(Some(made))
    }

    async fn find_nothing(&self) -> Result<Option<u32>, Error> {
        self.find().await.map(|_| None)
    }

    async fn fail(&self) -> Result<Option<u32>, Error> {
        self.find().await?;
        Err(Error::Raced)
    }

    /// What the cache says now, found anew if need be.
    async fn ask(&self, cache: &Cache<u8, u32>, key: u8, now: At) -> Option<u32> {
        let found = cache.get(&key, now, self.find()).await.unwrap();
        found.map(|found| *found)
    }
}

fn changing() -> Cache<u8, u32> {
    Cache::of_changing(100, MINUTE)
}

#[tokio::test]
async fn many_at_once_read_once() {
    let (cache, reads) = (changing(), Reads::default());
    let all = join_all((0..50).map(|_| reads.ask(&cache, 1, NOW))).await;
    assert_eq!(all, [Some(1); 50]);
    assert_eq!(reads.ask(&cache, 2, NOW).await, Some(2), "other keys apart");
}

#[tokio::test]
async fn what_changes_is_believed_for_its_time_there_or_not() {
    let (cache, reads) = (changing(), Reads::default());
    reads.ask(&cache, 1, NOW).await;
    cache.get(&2, NOW, reads.find_nothing()).await.unwrap();
    let still = At(LATER.0 - 1);
    assert_eq!(reads.ask(&cache, 1, still).await, Some(1));
    assert_eq!(reads.ask(&cache, 2, still).await, None);
    assert_eq!(reads.ask(&cache, 1, LATER).await, Some(3));
    assert_eq!(reads.ask(&cache, 2, LATER).await, Some(4));
    assert_eq!(reads.ask(&cache, 1, NOW).await, Some(5), "a clock set back");
}

#[tokio::test]
async fn a_constant_is_believed_for_ever_and_its_absence_is_not() {
    let cache = Cache::of_constants(10, 10, |_| 1);
    let reads = Reads::default();
    let nothing = cache.get(&1, NOW, reads.find_nothing()).await;
    assert_eq!(nothing.unwrap(), None);
    assert_eq!(reads.ask(&cache, 1, NOW).await, Some(2));
    assert_eq!(reads.ask(&cache, 1, At(u64::MAX)).await, Some(2));
}

#[tokio::test]
async fn a_failure_is_shared_by_those_who_wait_and_by_nobody_else() {
    let (cache, reads) = (changing(), Reads::default());
    let all = join_all((0..50).map(|_| cache.get(&1, NOW, reads.fail()))).await;
    assert!(
        all.iter()
            .all(|found| matches!(found, Err(Error::Shared(_))))
    );
    assert_eq!(reads.made(), 1);
    assert_eq!(reads.ask(&cache, 1, NOW).await, Some(2));
}

#[tokio::test]
async fn who_asks_after_a_change_never_gets_what_was_read_before() {
    let (cache, reads) = (changing(), Reads::default());
    let (answer, answered) = oneshot::channel();
    let mut before = Box::pin(cache.get(&1, NOW, async { Ok(answered.await.ok()) }));
    assert!(before.as_mut().now_or_never().is_none(), "it reads");
    let mut waits = Box::pin(reads.ask(&cache, 1, NOW));
    assert!(waits.as_mut().now_or_never().is_none(), "it waits for that");
    cache.forget(&1);
    assert_eq!(reads.ask(&cache, 1, NOW).await, Some(1));
    answer.send(100).unwrap();
    assert_eq!(before.await.unwrap().as_deref(), Some(&100));
    assert_eq!(waits.await, Some(1));
    assert_eq!(reads.ask(&cache, 1, NOW).await, Some(1), "it is not kept");
}

#[tokio::test]
async fn who_gives_up_leaves_the_read_to_the_next() {
    let (cache, reads) = (changing(), Reads::default());
    let mut given_up = Box::pin(reads.ask(&cache, 1, NOW));
    assert!(given_up.as_mut().now_or_never().is_none());
    let mut patient = Box::pin(reads.ask(&cache, 1, NOW));
    assert!(patient.as_mut().now_or_never().is_none());
    drop(given_up);
    assert_eq!(patient.await, Some(2));
}

#[tokio::test]
async fn the_weight_is_bounded_and_one_heavy_thing_is_kept() {
    let cache = Cache::of_constants(1_000, 100, |weight: &u32| u64::from(*weight));
    let reads = Reads::default();
    cache.insert(1, 95.into(), NOW);
    assert_eq!(reads.ask(&cache, 1, NOW).await, Some(95));
    cache.insert(2, 60.into(), NOW);
    cache.insert(3, 60.into(), NOW);
    let mut kept = 0;
    for key in [1, 2, 3] {
        let found = cache.get(&key, NOW, async { Ok(None) }).await.unwrap();
        kept += u32::from(found.is_some());
    }
    assert_eq!(kept, 1);
}
