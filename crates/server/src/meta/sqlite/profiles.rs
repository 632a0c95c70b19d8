//! The statements about profiles. Nothing depends on these rows: what is lost is learnt again.

use hfs_core::Timestamp;
use hfs_core::profile::{Guess, Link, Profile, ProfileKey};
use rusqlite::{Connection, Result, Row, named_params};

use super::rows::{count, unreadable};

/// The latest ones first, at most `limit`.
pub(super) fn all(connection: &Connection, limit: usize) -> Result<Vec<(ProfileKey, Profile)>> {
    let mut statement = connection.prepare_cached("SELECT * FROM profile ORDER BY learnt_at DESC LIMIT ?1")?;
    statement.query_map([count(limit)], profile)?.collect()
}

/// Writes these, and drops what is from before `oldest` and the oldest beyond `most`.
pub(super) fn keep(
    connection: &Connection,
    profiles: &[(ProfileKey, Profile)],
    oldest: Timestamp,
    most: usize,
) -> Result<()> {
    for (key, profile) in profiles {
        // Without a network, it is nobody's.
        if let Some(network) = key.prefix {
            insert(connection, key.owner.as_deref().unwrap_or_default(), &network.to_string(), profile)?;
        }
    }
    connection.prepare_cached("DELETE FROM profile WHERE learnt_at < ?1")?.execute([oldest.as_unix()])?;
    let kept: i64 = connection.prepare_cached("SELECT count(*) FROM profile")?.query_row([], |row| row.get(0))?;
    if kept > count(most) {
        connection
            .prepare_cached(
                "DELETE FROM profile WHERE (owner, network) IN
                 (SELECT owner, network FROM profile ORDER BY learnt_at LIMIT ?1)",
            )?
            .execute([kept - count(most)])?;
    }
    Ok(())
}

fn insert(connection: &Connection, owner: &str, network: &str, profile: &Profile) -> Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT OR REPLACE INTO profile (owner, network, learnt_at, transfers, rate, rate_default, rate_bbr, min_rtt,
                                         jitter, loss, breaks, step, link, confidence)
         VALUES (:owner, :network, :learnt_at, :transfers, :rate, :rate_default, :rate_bbr, :min_rtt,
                 :jitter, :loss, :breaks, :step, :link, :confidence)",
    )?;
    statement.execute(named_params! {
        ":owner": owner,
        ":network": network,
        ":learnt_at": profile.at.as_unix(),
        ":transfers": profile.transfers,
        ":rate": profile.rate_up,
        ":rate_default": profile.rate_default,
        ":rate_bbr": profile.rate_bbr,
        ":min_rtt": profile.min_rtt,
        ":jitter": profile.jitter,
        ":loss": profile.loss,
        ":breaks": profile.breaks,
        ":step": profile.step,
        ":link": profile.class.link.as_str(),
        ":confidence": profile.class.confidence,
    })?;
    Ok(())
}

fn profile(row: &Row<'_>) -> Result<(ProfileKey, Profile)> {
    let owner: String = row.get("owner")?;
    let network: String = row.get("network")?;
    let prefix = network.parse().map_err(|_| unreadable("network", &network))?;
    let key = ProfileKey { owner: Some(owner).filter(|owner| !owner.is_empty()), prefix: Some(prefix) };
    let link: String = row.get("link")?;
    let profile = Profile {
        rate_up: row.get("rate")?,
        rate_default: row.get("rate_default")?,
        rate_bbr: row.get("rate_bbr")?,
        is_bbr_latest: None,
        min_rtt: row.get("min_rtt")?,
        jitter: row.get("jitter")?,
        loss: row.get("loss")?,
        breaks: row.get("breaks")?,
        step: row.get("step")?,
        transfers: row.get("transfers")?,
        // A name that a later server has given is no reason to forget the rest.
        class: Guess { link: Link::from_name(&link).unwrap_or_default(), confidence: row.get("confidence")? },
        at: Timestamp::from_unix(row.get("learnt_at")?),
    };
    Ok((key, profile))
}
