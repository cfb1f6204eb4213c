// SPDX-License-Identifier: Apache-2.0
//
// What must be known of payers before their payments are believed, of many in one call. Deployed nowhere: the gateway sends it as
// the data of an eth_call that creates a contract, and what would become the code is the answer, all of it of one block.
// server/chain/facts.c holds what this compiles to; tests/stack/contracts.test.mjs compares and runs it.
//
// Behind the code: the token, Permit2, then for each payer three words: address, 0 for EIP-3009 or 1 for Permit2, and where the
// nonce is kept (the nonce itself, or the word of Permit2's bitmap). The answer has five words for each: size of the payer's code,
// which of the following were answered (bits 1, 2, 4), the nonce's state, the balance, the allowance for Permit2 (Permit2 only).
object "Facts" {
    code {
        let args := 0x80
        let size := sub(codesize(), datasize("Facts"))
        codecopy(args, datasize("Facts"), size)
        let token := mload(args)
        let permit2 := mload(add(args, 32))
        let answers := add(args, size)
        let answer := answers
        for { let p := add(args, 64) } lt(p, answers) { p := add(p, 96) } {
            let payer := mload(p)
            mstore(answer, extcodesize(payer))
            let by_permit2 := mload(add(p, 32))
            let place := mload(add(p, 64))
            let known
            switch by_permit2
            case 0 { known := ask(token, 0xe94a0102, payer, place, 68, add(answer, 64)) } // authorizationState(address,bytes32)
            default { known := ask(permit2, 0x4fe02b44, payer, place, 68, add(answer, 64)) } // nonceBitmap(address,uint256)
            known := or(known, mul(2, ask(token, 0x70a08231, payer, 0, 36, add(answer, 96)))) // balanceOf(address)
            if by_permit2 { known := or(known, mul(4, ask(token, 0xdd62ed3e, payer, permit2, 68, add(answer, 128)))) } // allowance(address,address)
            mstore(add(answer, 32), known)
            answer := add(answer, 160)
        }
        return(answers, sub(answer, answers))

        // An address without code answers nothing, so that counts as no answer.
        function ask(to, selector, first, second, length, into) -> ok {
            mstore(0, shl(224, selector))
            mstore(4, first)
            mstore(36, second)
            mstore(into, 0)
            ok := staticcall(gas(), to, 0, length, into, 32)
            ok := and(ok, gt(returndatasize(), 31))
        }
    }
}
