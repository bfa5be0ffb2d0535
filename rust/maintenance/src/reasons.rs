//! The closed list of reason codes: why a refresh was skipped, recomputed, refused or failed.
//!
//! Invariant: a code that is shown anywhere is in [`Reason::all`], and its text and hint are written here only.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Declares the variants, the codes, the messages and the hints in one place.
///
/// A variant with `(detail)` carries the name of what it is about; `{detail}` in its message stands for it.
macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident $(($detail:ident))? = $code:literal, $message:literal, $hint:literal;)*) => {
        /// Why a strategy was chosen, a refresh was skipped or a refresh failed.
        #[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(into = "ReasonText", try_from = "ReasonText")]
        pub enum Reason {
            $($(#[$doc])* $variant $((#[doc = "What it is about."] reasons!(@string $detail)))?,)*
        }

        impl Reason {
            /// Every reason once; those that carry a detail carry an empty one.
            pub fn all() -> Vec<Reason> {
                vec![$(reasons!(@sample $variant $($detail)?)),*]
            }

            /// The stable code, as stored in tables and compared by programs.
            pub fn code(&self) -> &'static str {
                match self { $(reasons!(@pattern $variant $($detail)?) => $code,)* }
            }

            /// What to do about it, empty where nothing is to be done.
            pub fn hint(&self) -> &'static str {
                match self { $(reasons!(@pattern $variant $($detail)?) => $hint,)* }
            }

            fn template(&self) -> &'static str {
                match self { $(reasons!(@pattern $variant $($detail)?) => $message,)* }
            }

            /// The name of what the reason is about, where there is one.
            pub fn detail(&self) -> Option<&str> {
                match self { $(reasons!(@bound $variant $($detail)?) => reasons!(@detail $($detail)?),)* }
            }

            fn from_parts(code: &str, text: Option<String>) -> Option<Reason> {
                match code {
                    $($code => Some(reasons!(@build text, $variant $($detail)?)),)*
                    _ => None,
                }
            }
        }
    };
    (@string $detail:ident) => { String };
    (@sample $variant:ident) => { Reason::$variant };
    (@sample $variant:ident $detail:ident) => { Reason::$variant(String::new()) };
    (@pattern $variant:ident) => { Reason::$variant };
    (@pattern $variant:ident $detail:ident) => { Reason::$variant(_) };
    (@bound $variant:ident) => { Reason::$variant };
    (@bound $variant:ident $detail:ident) => { Reason::$variant($detail) };
    (@detail) => { None };
    (@detail $detail:ident) => { Some($detail.as_str()) };
    (@build $text:ident, $variant:ident) => { Reason::$variant };
    (@build $text:ident, $variant:ident $detail:ident) => { Reason::$variant($text.unwrap_or_default()) };
}

reasons! {
    // Why a refresh computes what it computes.
    /// The target has no content of this view yet.
    FirstBuild = "first_build", "the view has not been built yet", "";
    /// The view's query changed.
    DefinitionChanged = "definition_changed", "the definition of the view changed", "";
    /// Something that decides the content changed, but not the query's text.
    ContentKeyChanged = "content_key_changed",
        "a function, a setting or a schema that decides the content changed", "";
    /// A person asked for it.
    Requested = "requested", "it was requested", "";
    /// The view's options say so.
    PolicyRecompute = "policy_recompute", "the view's options say refresh = \"recompute\"",
        "set refresh = \"auto\" to let changes be applied";
    /// Changes of the inputs are applied.
    Incremental = "incremental", "the changes of the inputs are applied", "";
    /// Applying the changes would cost more.
    CheaperRecompute = "cheaper_recompute", "recomputing reads and writes less than applying the changes",
        "set refresh = \"incremental\" to forbid it";

    // Why nothing had to be done.
    /// No input has a new version.
    NoNewVersions = "no_new_versions", "no input has a new version", "";
    /// The new versions rearranged files only.
    NoDataChange = "no_data_change", "the new versions changed no data", "";
    /// The changed files cannot meet the view's filters.
    FilteredOut = "filtered_out", "no changed file can hold a row that passes the view's filters", "";
    /// The changes are in columns that the view does not use.
    UnusedColumns = "unused_columns", "only columns that the view does not use changed", "";
    /// The changes cancel each other.
    EmptyChange = "empty_change", "the changes of the inputs cancel each other in the view", "";

    // Why the committed state or the changes cannot be used.
    /// The range of changes cannot be read any more.
    HistoryGone = "history_gone", "the log or the files of the range of changes are gone",
        "keep the input's log and files longer than the view's longest pause";
    /// An input was dropped and created again.
    TableReplaced = "table_replaced", "an input table was replaced by another one", "";
    /// An input's schema changed in a way that the view sees.
    SchemaChanged = "schema_changed", "the schema of an input changed", "";
    /// Someone else changed the rows of the target.
    TargetModified = "target_modified", "the rows of the target were changed by another writer",
        "let only the daemon write to the targets of views";
    /// The target is gone.
    TargetMissing = "target_missing", "the target table is missing", "";
    /// An input is gone.
    InputMissing = "input_missing", "an input table is missing", "restore the table or correct its location";

    // Why a view's query cannot be maintained by changes.
    /// An operator without a rule.
    OperatorNotIncremental(detail) = "operator_not_incremental",
        "there is no change rule for the operator `{detail}`",
        "split the view in two at this operator, so that the part below it stays incremental";
    /// An aggregate over the whole input.
    AggregateWithoutGroups = "aggregate_without_groups",
        "an aggregate without GROUP BY has one group, which every change affects", "group by a column";
    /// A window function.
    WindowNotIncremental(detail) = "window_not_incremental",
        "there is no change rule for the window functions `{detail}`",
        "partition all window functions by a common column";
    /// LIMIT, OFFSET or a top-k.
    LimitNotIncremental(detail) = "limit_not_incremental", "there is no change rule for the limit `{detail}`",
        "drop the limit and apply it when reading the view";
    /// DISTINCT ON, or a DISTINCT that was not planned as a grouping.
    DistinctNotIncremental(detail) = "distinct_not_incremental", "there is no change rule for `{detail}`",
        "use GROUP BY over the same columns";
    /// IN, EXISTS and scalar sub-queries.
    SubqueryNotIncremental(detail) = "subquery_not_incremental",
        "there is no change rule for the sub-query `{detail}`",
        "use an inner join with the grouped sub-query as a view of its own";
    /// WITH RECURSIVE.
    RecursionNotIncremental(detail) = "recursion_not_incremental",
        "there is no change rule for the recursive query `{detail}`", "";
    /// A function whose value differs from call to call.
    VolatileFunction(detail) = "volatile_function", "`{detail}` gives another value at each call",
        "leave the function out, or set refresh = \"recompute\"";
    /// A function of the current time.
    ClockDependent(detail) = "clock_dependent", "`{detail}` depends on the time of the refresh",
        "compare a column with the time in a WHERE on one relation; leave the time out of what is returned";
    /// An expression that the rules cannot carry.
    UnsupportedExpression(detail) = "unsupported_expression", "the expression `{detail}` cannot be maintained",
        "rewrite the expression";
    /// A float whose last digits depend on the order of rows.
    FloatOrderDependent = "float_order_dependent",
        "the last digits of its floats depend on the order of the rows",
        "set exact_sums = true, and leave approximate and DISTINCT pair functions out";
    /// A digest to compare with was not handed on.
    DigestUnknown = "digest_unknown", "nobody knows the digest of the content that the last commit built upon",
        "verify without a digest, or recompute the view";
    /// The target does not hold the rows that the change removes.
    TargetMismatch = "target_mismatch", "the target does not hold the rows that the changes remove",
        "verify the view, and look for another writer";
    /// An incremental refresh grew beyond what a recompute costs.
    BudgetExceeded = "budget_exceeded", "applying the changes cost more than planned", "";

    // Why a view waits, and why a refresh failed.
    /// Inputs that share a dataset reflect different versions of it.
    InputsNotAligned = "inputs_not_aligned", "the inputs do not reflect the same versions of a shared dataset", "";
    /// An input view could not be refreshed.
    UpstreamFailed = "upstream_failed", "a view that this view reads could not be refreshed", "";
    /// A person paused the view.
    Paused = "paused", "the view is paused", "resume it";
    /// Another writer committed the same refresh first.
    LostRace = "lost_race", "another refresh of the view committed first", "";
    /// Two daemons maintain one target with different definitions.
    DefinitionConflict = "definition_conflict",
        "another project writes the same target with a different definition", "stop one of the two";
    /// The target belongs to something else.
    NotOurs = "not_ours", "the target exists and does not belong to this view",
        "choose another target, or adopt the table explicitly";
    /// The view left the project.
    Orphaned = "orphaned", "the view is no longer in the project; its target was left as it is", "";
    /// The refresh failed.
    RefreshFailed = "refresh_failed", "the refresh failed", "";
    /// One compile key led to two plans.
    PlanNotDeterministic = "plan_not_deterministic", "the same definition was planned in two ways",
        "report it, it is a defect";
    /// The same content by another plan.
    EngineUpgrade = "engine_upgrade", "the engine plans the view in a new way; its content is unchanged", "";
    /// A function that the view uses changed.
    FunctionChanged = "function_changed", "a function that the view uses changed", "";
}

impl Reason {
    /// One sentence for people, with the name of what it is about.
    pub fn message(&self) -> String {
        self.template().replace("{detail}", self.detail().unwrap_or_default())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.message())
    }
}

impl std::error::Error for Reason {}

/// How a reason is written as JSON: the code decides, the texts are for readers.
#[derive(Serialize, Deserialize)]
struct ReasonText {
    code: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(default)]
    message: String,
    #[serde(default)]
    hint: String,
}

impl From<Reason> for ReasonText {
    fn from(reason: Reason) -> Self {
        Self {
            code: reason.code().to_owned(),
            detail: reason.detail().map(str::to_owned),
            message: reason.message(),
            hint: reason.hint().to_owned(),
        }
    }
}

impl TryFrom<ReasonText> for Reason {
    type Error = String;

    fn try_from(text: ReasonText) -> Result<Self, Self::Error> {
        let ReasonText { code, detail, .. } = text;
        Reason::from_parts(&code, detail).ok_or_else(|| format!("unknown reason code \"{code}\""))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_unique_snake_case_and_round_trip_as_json() {
        let all = Reason::all();
        let codes: BTreeSet<_> = all.iter().map(Reason::code).collect();
        assert_eq!(codes.len(), all.len());
        for reason in all {
            assert!(reason.code().chars().all(|letter| letter.is_ascii_lowercase() || letter == '_'));
            assert!(!reason.message().contains('{'), "{}", reason.message());
            let text = serde_json::to_string(&reason).unwrap();
            assert_eq!(serde_json::from_str::<Reason>(&text).unwrap(), reason);
        }
    }

    #[test]
    fn a_detail_is_part_of_the_message_and_survives_json() {
        let reason = Reason::VolatileFunction("random()".to_owned());
        assert_eq!(reason.message(), "`random()` gives another value at each call");
        let json = serde_json::to_value(&reason).unwrap();
        assert_eq!(json["code"], "volatile_function");
        assert_eq!(serde_json::from_value::<Reason>(json).unwrap(), reason);
    }
}
