//! Random bytes from the crypto provider: the one source of names, request ids and generated secrets.

/// `N` unpredictable bytes.
///
/// # Panics
/// When the provider cannot seed itself from the kernel: there is no safe way to go on, and Linux never lets it happen
/// after early boot.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the kernel gives random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_draws_differ() {
        assert_ne!(random::<16>(), random::<16>());
    }
}
