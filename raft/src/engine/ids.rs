//! Numbers that look random and come from one seed, and the ids of proposals. Pure.

/// Draws numbers from a seed (SplitMix64): equal seeds give equal numbers.
#[derive(Clone, Debug)]
pub(crate) struct Draws(u64);

impl Draws {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// An id: any number but 0.
    pub(crate) fn id(&mut self) -> u64 {
        self.next().max(1)
    }
}

/// Length of the encoded id of a proposal.
const ID_BYTES: usize = 24;

/// The id of a proposal: who made it, and what whoever applies it must still remember.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProposalId {
    /// One run of one member.
    pub(crate) origin: u64,
    /// Number of the proposal at its origin.
    pub(crate) sequence: u64,
    /// The origin waits for no proposal with a lower number, so none needs to be recognised any more.
    pub(crate) lowest: u64,
}

impl ProposalId {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(ID_BYTES);
        for number in [self.origin, self.sequence, self.lowest] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes
    }

    /// The id that the bytes stand for; none for those of entries written before there were such ids.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (chunks, rest) = bytes.as_chunks::<8>();
        match (chunks, rest) {
            ([origin, sequence, lowest], []) => Some(Self {
                origin: u64::from_be_bytes(*origin),
                sequence: u64::from_be_bytes(*sequence),
                lowest: u64::from_be_bytes(*lowest),
            }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proposal_id_encoded_and_decoded_is_the_same() {
        let id = ProposalId {
            origin: u64::MAX,
            sequence: 7,
            lowest: 3,
        };
        assert_eq!(ProposalId::decode(&id.encode()), Some(id));
        assert_eq!(ProposalId::decode(&id.encode()[1..]), None);
        assert_eq!(ProposalId::decode(&[]), None);
    }
}
