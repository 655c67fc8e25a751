"""Executing at a start what the store holds: every block by the rules, few of their signatures again (rules L3, L8, C10).

All of it was verified when it came. A result certificate is signed over its block's hash, which binds all blocks before it,
and over the state they made; so the newest one of an epoch vouches for all blocks of that epoch up to it, once a quorum of
the epoch's committee is found under it, and for the committee that follows. What lies behind it is verified signature by
signature, and so is a recovery. A store that somebody changed is found out as before; only signatures in the middle, of a
certificate, a commit, a batch or a transaction, may be bad unnoticed, and whoever is handed them refuses them. Audits and
restores verify all.
"""

from consilium.kernel.certificates import ResultCertificate, verify_result_certificate
from consilium.kernel.chain import CertifiedBlock
from consilium.kernel.opening import open_block
from consilium.kernel.signing import Verifier
from consilium.ledger.core.acceptance import VerifiedBlock, fitting_block, verify_signatures
from consilium.ledger.core.archive import StoredBlocks, stored_block, stored_certificate
from consilium.ledger.core.chain import Chain


class Replay:
    """One start: `read` each block, execute it, say so (`executed`), and in the end `finish`."""

    def __init__(self, chain: Chain, stored: StoredBlocks, verifier: Verifier) -> None:
        """For a chain at genesis, made with the same verifier; `stored` is never written meanwhile."""
        self._chain, self._stored, self._verifier = chain, stored, verifier
        self._vouched = chain.height
        self._newest: ResultCertificate | None = None
        self._later: list[ResultCertificate] = []

    def read(self, height: int) -> VerifiedBlock:
        """The next block, fit to be executed; raises as `acceptance.verify_block`."""
        block = self._block(height)
        if block.recovery is not None:
            self._settle()
        return fitting_block(block, self._chain.tip, self._chain.chain_id, self._verifier)

    def executed(self, height: int) -> list[int]:
        """Take in the certificate of the block that was just executed; the heights that are certified with it.

        Raises as `Chain.add_result_certificate`; BadSignature where nothing vouches for the blocks of an epoch that ended.
        """
        chain, certified = self._chain, list[int]()
        certificate, epoch = stored_certificate(self._stored, height, chain.chain_id), chain.outcome(height).result.epoch
        if certificate is not None and certificate.result.epoch == epoch:
            chain.add_kept_certificate(certificate)
            self._newest, certified = certificate, [height]
        elif certificate is not None:
            # The committee that follows a recovery has certified it; a later block tells who that is (C10).
            self._later.append(certificate)
        if chain.tip.outlook.epoch != epoch:
            self._settle()
        return certified

    def finish(self) -> list[int]:
        """Verify what is left to verify; the heights that are certified only now. Raises as `executed`."""
        self._settle()
        for each in self._later:
            self._chain.add_result_certificate(each)
        return [each.result.height for each in self._later]

    def _settle(self) -> None:
        """Find a quorum under the newest certificate since the last time, and under everything behind it."""
        newest, chain = self._newest, self._chain
        if newest is not None:
            committee = chain.committee_of(newest.result.epoch)
            verify_result_certificate(committee, newest, chain.chain_id, self._verifier)
            self._vouched, self._newest = newest.result.height, None
        while self._vouched < chain.height:
            opened = open_block(self._block(self._vouched + 1), chain.chain_id)
            block = VerifiedBlock(opened, chain.committee_of(opened.header.epoch))
            verify_signatures(block, chain.chain_id, self._verifier)
            self._vouched += 1

    def _block(self, height: int) -> CertifiedBlock:
        return stored_block(self._stored, height, self._chain.chain_id)


def replay_all(chain: Chain, stored: StoredBlocks, last: int) -> None:
    """Execute the blocks up to a height on a chain at genesis, every signature verified; raises what `Chain` raises."""
    later = list[ResultCertificate]()
    for height in range(1, last + 1):
        outcome = chain.append_block(stored_block(stored, height, chain.chain_id))
        certificate = stored_certificate(stored, height, chain.chain_id)
        if certificate is not None and certificate.result.epoch > outcome.result.epoch:
            later.append(certificate)
        elif certificate is not None:
            chain.add_result_certificate(certificate)
    for each in later:
        chain.add_result_certificate(each)
