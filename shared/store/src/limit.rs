//! The shared counters of rate limits: leases of tokens.
//!
//! A counter is one item for each limit and subject. It holds the number of the window that is open and what is left of it,
//! and knows two writes: taking tokens of the open window, and opening a later one. **Invariants:** what is taken in one
//! window is never more than the limit that it was opened with; the window never goes back.

use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::operation::update_item::builders::UpdateItemFluentBuilder;
use aws_sdk_dynamodb::types::{ReturnValue, ReturnValuesOnConditionCheckFailure};
use domain::id::TenantId;
use domain::limit::{Leased, ends_at};
use domain::tier::Window;

use crate::item::{Item, Read, number, text};
use crate::key::Key;
use crate::table::ATTEMPTS;
use crate::{Error, Store};

/// How long a counter is kept after its window: far longer than any clock is off, since a counter that goes can be opened
/// again by a clock that is behind.
const KEPT_S: u64 = 86_400;

/// Takes from the open window. Names of our own: `window`, `left` and `ttl` are reserved words of the table.
const TAKE: &str = "SET tokens_left = tokens_left - :n";
const TAKE_IF: &str = "open_window = :w AND tokens_left >= :n";
/// Opens a later window.
const OPEN: &str = "SET open_window = :w, tokens_left = :left, #ttl = :ttl";
const OPEN_IF: &str = "attribute_not_exists(pk) OR open_window < :w";

/// A counter as it stands.
struct Standing {
    window: u64,
    left: u64,
}

/// What became of an update.
enum Updated {
    /// It was done; these are the attributes that it changed.
    Done(Item),
    /// Its condition failed on this item, if there is one.
    Refused(Option<Standing>),
}

impl Store {
    /// Takes `want` tokens, or what is left when that is less, of window number `index` of a limit; of a later one when the
    /// counter is already there. `subject` is whose requests count: an id of an API key, a hash, none for the tenant's.
    ///
    /// One write when the window is open and has enough, two to open it or to take the rest, one when nothing is left, a few
    /// more when others write at the same instants. A changed limit holds from the next window on.
    ///
    /// The SDK repeats an update whose answer was lost. If the first one was done, the second one takes again, or finds the
    /// window that the first one opened: then tokens are lost until the window's end. None are made, since every token that
    /// is returned was taken by an update of its own. What each condition is for, by the test that fails without it:
    ///
    /// * `open_window = :w`: `a_late_lease_takes_from_the_window_that_is_open`
    /// * `tokens_left >= :n`: `who_asks_for_more_than_is_left_gets_what_is_left`,
    ///   `many_leasers_never_take_more_than_the_limit`
    /// * `attribute_not_exists(pk)`: nearly every one, as no counter is ever opened
    /// * `open_window < :w`: `a_new_window_has_all_of_its_tokens` without it; with `<=` in its place
    ///   `a_window_is_opened_once`, with `<>` `the_window_never_goes_back`
    ///
    /// # Errors
    /// [`Error::BadLimit`] for a subject that is not 1 to 64 letters and digits, or a limit whose name breaks its rule; those
    /// of the table, among them a transient one when other writers were faster again and again.
    pub async fn lease(
        &self,
        tenant: &TenantId,
        limit: &Window,
        subject: Option<&str>,
        index: u64,
        want: u64,
    ) -> Result<Leased, Error> {
        let key = Key::limit(tenant, limit, subject).ok_or(Error::BadLimit)?;
        // Whoever answers counts for itself, at home or not.
        let here = self.in_own_region(tenant);
        let mut window = index;
        let mut tokens = want.max(1).min(limit.requests);
        if tokens == 0 {
            return Ok(Leased {
                window,
                tokens,
                left: 0,
            });
        }
        for attempt in 0..ATTEMPTS {
            let standing = match here.take_tokens(&key, window, tokens).await? {
                Updated::Done(item) => {
                    let left = item.number("tokens_left")?;
                    return Ok(Leased {
                        window,
                        tokens,
                        left,
                    });
                }
                Updated::Refused(Some(standing)) if standing.window >= window => standing,
                Updated::Refused(_) => match here.open_window(&key, limit, window, tokens).await? {
                    Updated::Done(_) => {
                        let left = limit.requests.saturating_sub(tokens);
                        return Ok(Leased {
                            window,
                            tokens,
                            left,
                        });
                    }
                    Updated::Refused(Some(standing)) => standing,
                    // Removed between the refusal and now.
                    Updated::Refused(None) => continue,
                },
            };
            window = standing.window;
            if standing.left == 0 {
                return Ok(Leased {
                    window,
                    tokens: 0,
                    left: 0,
                });
            }
            // Whoever loses this race too asks for a single token, which is refused only when none is left.
            tokens = if attempt == 0 {
                tokens.min(standing.left)
            } else {
                1
            };
        }
        Err(Error::conflict("UpdateItem"))
    }

    async fn take_tokens(&self, key: &Key, window: u64, tokens: u64) -> Result<Updated, Error> {
        let request = self
            .counter(key)
            .await?
            .update_expression(TAKE)
            .condition_expression(TAKE_IF)
            .expression_attribute_values(":w", number(window))
            .expression_attribute_values(":n", number(tokens));
        self.update_counter(request).await
    }

    async fn open_window(
        &self,
        key: &Key,
        limit: &Window,
        window: u64,
        tokens: u64,
    ) -> Result<Updated, Error> {
        let left = limit.requests.saturating_sub(tokens);
        let gone_s = (ends_at(limit, window).0 / 1_000).saturating_add(KEPT_S);
        let request = self
            .counter(key)
            .await?
            .update_expression(OPEN)
            .condition_expression(OPEN_IF)
            .expression_attribute_names("#ttl", "ttl")
            .expression_attribute_values(":w", number(window))
            .expression_attribute_values(":left", number(left))
            .expression_attribute_values(":ttl", number(gone_s));
        self.update_counter(request).await
    }

    async fn counter(&self, key: &Key) -> Result<UpdateItemFluentBuilder, Error> {
        let place = self.place_to_write(key.pk()).await?;
        let request = self.access.table.update_item().table_name(&*place.table);
        Ok(request
            .key("pk", text(place.pk))
            .key("sk", text(key.sk()))
            .return_values(ReturnValue::UpdatedNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .set_return_consumed_capacity(self.capacity()))
    }

    async fn update_counter(&self, request: UpdateItemFluentBuilder) -> Result<Updated, Error> {
        let answer = Box::pin(request.send()).await;
        self.meter.add(|consumed| consumed.writes += 1);
        let error = match answer {
            Ok(answer) => {
                self.count_write(answer.consumed_capacity.as_ref());
                return Ok(Updated::Done(answer.attributes.unwrap_or_default()));
            }
            Err(error) => error,
        };
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(failed)) => {
                let old = failed.item.as_ref().filter(|item| !item.is_empty());
                Ok(Updated::Refused(old.map(standing).transpose()?))
            }
            _ => Err(Error::of_sdk("UpdateItem", error)),
        }
    }
}

fn standing(item: &Item) -> Result<Standing, Error> {
    Ok(Standing {
        window: item.number("open_window")?,
        left: item.number("tokens_left")?,
    })
}
