use uuid::Uuid;

/// The `n`th account: spread like random ids, and the same in every process.
pub fn account(n: u64) -> Uuid {
    Uuid::from_u64_pair(
        n.wrapping_mul(0x9E37_79B9_7F4A_7C15),
        n.wrapping_mul(0xC2B2_AE3D_27D4_EB4F) | 1 << 63,
    )
}

/// The account of a caller's `n`th call: another one each time, and callers seldom meet.
#[allow(dead_code)] // Not all programs have callers.
pub fn account_of_call(caller: usize, n: usize, accounts: usize) -> Uuid {
    account(((caller * 7_919 + n * 104_729) % accounts) as u64)
}
