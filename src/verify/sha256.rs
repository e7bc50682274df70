//! SHA-256 of many messages at once.
//!
//! Hashing was a quarter of an audit's work. A processor with SHA instructions does it quickest one message at a time,
//! and so does one without vectors; in between, with AVX2, eight messages side by side take about a third of the time,
//! since one message alone can't be spread over a vector: 0.9 us instead of 2.4 to 3.2 for an entry's 630 bytes, of some
//! 5 to 9 us of client CPU that its audit takes there. With SHA instructions it is 0.8 us, and none of this is used.

use crate::ledger::Hash;

const BLOCK: usize = 64;
const LANES: usize = 8;

/// Messages, each padded to whole blocks as FIPS 180-4, section 5.1.1, says.
pub(super) struct Messages {
    bytes: Vec<u8>,
    /// Where each ends, without and with its padding.
    ends: Vec<(usize, usize)>,
}

impl Messages {
    /// For so many messages of ordinary size.
    pub(super) fn with_capacity(count: usize) -> Self {
        Messages {
            bytes: Vec::with_capacity(count * 10 * BLOCK),
            ends: Vec::with_capacity(count),
        }
    }

    /// One more, which `write` appends.
    pub(super) fn add(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let begin = self.bytes.len();
        write(&mut self.bytes);
        let end = self.bytes.len();
        let bits = (end - begin) as u64 * 8;
        self.bytes.push(0x80);
        self.bytes
            .resize((self.bytes.len() + 8).next_multiple_of(BLOCK) - 8, 0);
        self.bytes.extend_from_slice(&bits.to_be_bytes());
        self.ends.push((end, self.bytes.len()));
    }

    /// The hash of each, in order.
    pub(super) fn hashes(self) -> Vec<Hash> {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && !is_x86_feature_detected!("sha") {
            // SAFETY: the processor has the one feature that the function was compiled for.
            #[allow(unsafe_code)]
            return unsafe { self.with_avx2() };
        }
        self.one_by_one()
    }

    fn one_by_one(&self) -> Vec<Hash> {
        let begins = std::iter::once(0).chain(self.ends.iter().map(|(_, padded)| *padded));
        begins
            .zip(&self.ends)
            .map(|(begin, (end, _))| Hash::of(self.bytes.get(begin..*end).unwrap_or_default()))
            .collect()
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn with_avx2(&self) -> Vec<Hash> {
        lanes::hashes(self)
    }
}

/// Plain arithmetic on arrays of eight, which the compiler turns into vectors inside [`Messages::with_avx2`].
#[cfg(target_arch = "x86_64")]
mod lanes {
    use super::{BLOCK, Hash, LANES, Messages};
    use std::array::from_fn;

    /// The same word of eight messages.
    #[derive(Clone, Copy)]
    #[repr(align(32))]
    struct Word([u32; LANES]);

    impl Word {
        #[inline(always)]
        fn all(n: u32) -> Self {
            Word([n; LANES])
        }

        #[inline(always)]
        fn with(mut self, other: Word, f: impl Fn(u32, u32) -> u32) -> Self {
            self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a = f(*a, b));
            self
        }

        #[inline(always)]
        fn plus(self, other: Word) -> Self {
            self.with(other, u32::wrapping_add)
        }

        #[inline(always)]
        fn xor(self, other: Word) -> Self {
            self.with(other, |a, b| a ^ b)
        }

        #[inline(always)]
        fn and(self, other: Word) -> Self {
            self.with(other, |a, b| a & b)
        }

        #[inline(always)]
        fn rotated<const BITS: u32>(mut self) -> Self {
            self.0.iter_mut().for_each(|a| *a = a.rotate_right(BITS));
            self
        }

        #[inline(always)]
        fn shifted<const BITS: u32>(mut self) -> Self {
            self.0.iter_mut().for_each(|a| *a >>= BITS);
            self
        }
    }

    /// Eight messages at a time, those of one length together: a lane that is done would idle.
    #[inline(always)]
    pub(super) fn hashes(messages: &Messages) -> Vec<Hash> {
        let mut begin = 0;
        let mut blocks: Vec<(usize, &[[u8; BLOCK]])> = Vec::with_capacity(messages.ends.len());
        for (index, (_, end)) in messages.ends.iter().enumerate() {
            let bytes = messages.bytes.get(begin..*end).unwrap_or_default();
            blocks.push((index, bytes.as_chunks().0));
            begin = *end;
        }
        blocks.sort_by_key(|(_, blocks)| blocks.len());
        let mut hashes = vec![Hash([0; 32]); blocks.len()];
        for group in blocks.chunks(LANES) {
            let lane = |lane: usize| group.get(lane).map_or([].as_slice(), |(_, blocks)| *blocks);
            let digests = side_by_side(from_fn(lane));
            for ((index, _), digest) in group.iter().zip(digests) {
                if let Some(hash) = hashes.get_mut(*index) {
                    *hash = Hash(digest);
                }
            }
        }
        hashes
    }

    #[inline(always)]
    fn side_by_side(messages: [&[[u8; BLOCK]]; LANES]) -> [[u8; 32]; LANES] {
        let mut state = START.map(Word::all);
        let mut digests = [[0; 32]; LANES];
        let longest = messages.iter().map(|m| m.len()).max().unwrap_or_default();
        for n in 0..longest {
            let blocks = messages.map(|message| message.get(n).unwrap_or(&[0; BLOCK]));
            compress(&mut state, blocks);
            for (lane, digest) in digests.iter_mut().enumerate() {
                if messages.get(lane).is_some_and(|message| message.len() == n + 1) {
                    for (bytes, word) in digest.as_chunks_mut().0.iter_mut().zip(&state) {
                        *bytes = word.0.get(lane).copied().unwrap_or_default().to_be_bytes();
                    }
                }
            }
        }
        digests
    }

    /// FIPS 180-4, section 6.2.2.
    #[inline(always)]
    #[allow(
        clippy::indexing_slicing,
        reason = "by constants and modulo the length: checked when compiled"
    )]
    fn compress(state: &mut [Word; 8], blocks: [&[u8; BLOCK]; LANES]) {
        let mut w: [Word; 16] = from_fn(|t| {
            Word(from_fn(|lane| {
                let block = blocks[lane];
                u32::from_be_bytes([block[t * 4], block[t * 4 + 1], block[t * 4 + 2], block[t * 4 + 3]])
            }))
        });
        let [mut a, mut b, mut c, mut d, mut e, mut f, mut g, mut h] = *state;
        for (t, k) in ROUNDS.into_iter().enumerate() {
            if t >= 16 {
                let (early, late) = (w[(t + 1) % 16], w[(t + 14) % 16]);
                let s0 = early
                    .rotated::<7>()
                    .xor(early.rotated::<18>())
                    .xor(early.shifted::<3>());
                let s1 = late
                    .rotated::<17>()
                    .xor(late.rotated::<19>())
                    .xor(late.shifted::<10>());
                w[t % 16] = w[t % 16].plus(s0).plus(w[(t + 9) % 16]).plus(s1);
            }
            let s1 = e.rotated::<6>().xor(e.rotated::<11>()).xor(e.rotated::<25>());
            let choice = g.xor(e.and(f.xor(g)));
            let t1 = h.plus(s1).plus(choice).plus(Word::all(k)).plus(w[t % 16]);
            let s0 = a.rotated::<2>().xor(a.rotated::<13>()).xor(a.rotated::<22>());
            let majority = a.and(b.xor(c)).xor(b.and(c));
            (h, g, f, e) = (g, f, e, d.plus(t1));
            (d, c, b, a) = (c, b, a, t1.plus(s0.plus(majority)));
        }
        for (before, after) in state.iter_mut().zip([a, b, c, d, e, f, g, h]) {
            *before = before.plus(after);
        }
    }

    /// FIPS 180-4, section 5.3.3: the square roots of the first eight primes.
    const START: [u32; 8] = [
        0x6a09_e667,
        0xbb67_ae85,
        0x3c6e_f372,
        0xa54f_f53a,
        0x510e_527f,
        0x9b05_688c,
        0x1f83_d9ab,
        0x5be0_cd19,
    ];

    /// FIPS 180-4, section 4.2.2: the cube roots of the first 64 primes.
    const ROUNDS: [u32; 64] = [
        0x428a_2f98,
        0x7137_4491,
        0xb5c0_fbcf,
        0xe9b5_dba5,
        0x3956_c25b,
        0x59f1_11f1,
        0x923f_82a4,
        0xab1c_5ed5,
        0xd807_aa98,
        0x1283_5b01,
        0x2431_85be,
        0x550c_7dc3,
        0x72be_5d74,
        0x80de_b1fe,
        0x9bdc_06a7,
        0xc19b_f174,
        0xe49b_69c1,
        0xefbe_4786,
        0x0fc1_9dc6,
        0x240c_a1cc,
        0x2de9_2c6f,
        0x4a74_84aa,
        0x5cb0_a9dc,
        0x76f9_88da,
        0x983e_5152,
        0xa831_c66d,
        0xb003_27c8,
        0xbf59_7fc7,
        0xc6e0_0bf3,
        0xd5a7_9147,
        0x06ca_6351,
        0x1429_2967,
        0x27b7_0a85,
        0x2e1b_2138,
        0x4d2c_6dfc,
        0x5338_0d13,
        0x650a_7354,
        0x766a_0abb,
        0x81c2_c92e,
        0x9272_2c85,
        0xa2bf_e8a1,
        0xa81a_664b,
        0xc24b_8b70,
        0xc76c_51a3,
        0xd192_e819,
        0xd699_0624,
        0xf40e_3585,
        0x106a_a070,
        0x19a4_c116,
        0x1e37_6c08,
        0x2748_774c,
        0x34b0_bcb5,
        0x391c_0cb3,
        0x4ed8_aa4a,
        0x5b9c_ca4f,
        0x682e_6ff3,
        0x748f_82ee,
        0x78a5_636f,
        0x84c8_7814,
        0x8cc7_0208,
        0x90be_fffa,
        0xa450_6ceb,
        0xbef9_a3f7,
        0xc671_78f2,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every length around the edges of blocks, and groups that are not full.
    #[test]
    fn many_at_once_are_hashed_like_each_alone() {
        for count in [0, 1, 7, 8, 9, 300] {
            let texts: Vec<Vec<u8>> = (0..count)
                .map(|n: usize| (0..n * 37 % 300).map(|i| (i * n) as u8).collect())
                .collect();
            let mut messages = Messages::with_capacity(1);
            for text in &texts {
                messages.add(|bytes| bytes.extend_from_slice(text));
            }
            let expected: Vec<Hash> = texts.iter().map(|text| Hash::of(text)).collect();
            assert_eq!(messages.one_by_one(), expected);
            // Here too where the processor has SHA instructions, and nobody would choose them.
            #[cfg(target_arch = "x86_64")]
            {
                assert_eq!(lanes::hashes(&messages), expected);
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has the one feature that the function was compiled for.
                    #[allow(unsafe_code)]
                    let hashes = unsafe { messages.with_avx2() };
                    assert_eq!(hashes, expected);
                }
            }
            assert_eq!(messages.hashes(), expected);
        }
    }
}
