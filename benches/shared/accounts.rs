use uuid::Uuid;

/// The `n`th account: spread like random ids, and the same in every process.
pub fn account(n: u64) -> Uuid {
    Uuid::from_u64_pair(
        n.wrapping_mul(0x9E37_79B9_7F4A_7C15),
        n.wrapping_mul(0xC2B2_AE3D_27D4_EB4F) | 1 << 63,
    )
}
