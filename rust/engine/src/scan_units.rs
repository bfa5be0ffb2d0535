//! Scan units: which files of which version a plan reads, by partition values and statistics of the log alone.

use std::collections::BTreeSet;

use datafusion::error::Result;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan};
use lake::{DataFile, TableSnapshot};

use crate::binding::{Side, unqualified, visit_leaves};
use crate::request::ScanUnit;

/// The files behind one side of a relation.
pub struct ScanSource<'a> {
    /// The version that gives schema and partition columns.
    pub snapshot: &'a TableSnapshot,
    /// The files, before anything is ruled out.
    pub files: &'a [DataFile],
}

/// The scan units of an optimized plan, one for each leaf, in a stable order without repetitions.
///
/// `source` gives what stands behind a leaf; a leaf without one (a change set in memory) has no unit.
pub fn scan_units<'a>(
    plan: &LogicalPlan,
    source: &dyn Fn(Side, &str) -> Option<ScanSource<'a>>,
) -> Result<Vec<ScanUnit>> {
    let mut units = Vec::new();
    visit_leaves(plan, |scan, above| {
        units.extend(unit(scan, above, source)?);
        Ok(())
    })?;
    units.sort_by(|left, right| {
        (&left.relation, &left.side, &left.filters, &left.columns).cmp(&(
            &right.relation,
            &right.side,
            &right.filters,
            &right.columns,
        ))
    });
    units.dedup();
    Ok(units)
}

fn unit<'a>(
    scan: &TableScan,
    above: Option<&Expr>,
    source: &dyn Fn(Side, &str) -> Option<ScanSource<'a>>,
) -> Result<Option<ScanUnit>> {
    let Some((side, relation)) = Side::of(&scan.table_name) else { return Ok(None) };
    let Some(source) = source(side, relation) else { return Ok(None) };
    let filters: Vec<Expr> =
        scan.filters.iter().chain(above).flat_map(split_conjunction).map(unqualified).collect::<Result<_>>()?;
    let schema = lake::view_typed(&source.snapshot.schema);
    let pruned = lake::prune(source.files, &schema, &source.snapshot.partition_columns, &filters);
    let kept: Vec<&DataFile> = pruned.kept.iter().map(|index| &source.files[*index]).collect();
    let texts: BTreeSet<String> = filters.iter().map(ToString::to_string).collect();
    Ok(Some(ScanUnit {
        relation: relation.to_owned(),
        version: source.snapshot.version,
        side: side.name().to_owned(),
        files: kept.iter().map(|file| file.path.clone()).collect(),
        skipped_files: pruned.skipped.len() as u64,
        bytes: kept.iter().map(|file| file.size).sum(),
        rows: kept.iter().filter_map(|file| file.live_rows()).sum(),
        filters: texts.into_iter().collect(),
        columns: scan.projected_schema.fields().iter().map(|field| field.name().clone()).collect(),
    }))
}
