// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {Callers} from "./Callers.sol";

/// Settles many payment authorizations in one transaction; each succeeds or fails alone.
///
/// Who calls it: the gateway's settling keys, nobody else. It is the `facilitatorAddress` of every `upto` offer, because
/// the proxy of that scheme lets only the facilitator choose the amount, and a grouped item reaches it with this contract
/// as the sender. So whoever may call here decides what upto payers pay below their maximum: hence the list of callers.
///
/// What it cannot do: hold or move funds of its own (no payable function, no allowance is ever given to it), run foreign
/// code in its own storage, or call anything but the six functions named below. It stores nothing while settling, so
/// a token that calls back finds nothing half done, and is not a caller.
///
/// Gas: an item that fails, whatever it burns, costs at most its own `gasLimit`, and an item is tried only when its whole
/// limit can be given to it; otherwise it is reported as skipped and its authorization stays unused. Sending
/// 10,000 + Σ (gasLimit · 64/63 + 15,000) on top of the transaction's own cost is always enough for all of them. Do not ask
/// the node for an estimate: skipping is no failure, so it would find the gas with which everything is skipped.
///
/// Reading the events: every item has exactly one, `Settled` or `Skipped`. Tokens may emit look-alikes: only those whose
/// address is this contract count. `ok` says that the call returned; what moved is told by the token's Transfer event.
contract Settler is Callers {
    /// `kind` is one of the constants below. `token` is called for EIP-3009 kinds and ignored for the others. `ref` is the
    /// gateway's own name for the payment. `args` is what a transaction of its own would carry after the selector.
    struct Item {
        uint8 kind;
        address token;
        uint64 gasLimit;
        bytes32 ref;
        bytes args;
    }

    enum Why {
        NotEnoughGas,
        NoCode,
        UnknownKind,
        ArgsTooLong
    }

    uint8 public constant EIP3009_VRS = 0;
    uint8 public constant EIP3009_BYTES = 1;
    uint8 public constant EXACT = 2;
    uint8 public constant EXACT_WITH_PERMIT = 3;
    uint8 public constant UPTO = 4;
    uint8 public constant UPTO_WITH_PERMIT = 5;

    /// The x402 proxies have the same address on every chain.
    address public constant EXACT_PROXY = 0x402085c248EeA27D92E8b30b2C58ed07f9E20001;
    address public constant UPTO_PROXY = 0x4020A4f3b7b90ccA423B9fabCc0CE57C6C240002;

    /// As many as the bits of settle's answer.
    uint256 public constant MAX_ITEMS = 256;
    /// Bounds what copying costs; the arguments of one payment are 300 to 700 bytes, a contract wallet's signature included
    /// rarely more than 2,000.
    uint256 public constant MAX_ARGS = 8192;
    uint256 public constant MAX_REASON = 256;
    /// What one item costs besides its call, at most: copying MAX_ARGS, a cold account, an event with MAX_REASON bytes.
    uint256 private constant ITEM_GAS = 14_000;
    /// What reporting one item as skipped costs, at most.
    uint256 private constant SKIP_GAS = 3_500;
    /// For entering and leaving.
    uint256 private constant BASE_GAS = 3_000;

    event Settled(uint256 indexed index, bytes32 indexed ref, bool ok, bytes reason);
    event Skipped(uint256 indexed index, bytes32 indexed ref, Why why);

    error TooManyItems();
    error NotEnoughGas();

    constructor(address firstOwner, address[] memory callers) Callers(firstOwner, callers) {}

    /// Tries the items in order. Bit i of the answer is set when item i succeeded, for a caller that simulates first.
    /// Reverts, with nothing settled, only for a wrong caller, too many items, calldata that cannot be read, or when there
    /// is not even the gas to report every item.
    function settle(Item[] calldata items) external returns (uint256 settled) {
        if (!isCaller[msg.sender]) revert NotCaller();
        uint256 count = items.length;
        if (count > MAX_ITEMS) revert TooManyItems();
        if (gasleft() < BASE_GAS + count * SKIP_GAS) revert NotEnoughGas();
        bytes memory reason = new bytes(MAX_REASON); // one buffer for all, so memory does not grow with the failures
        for (uint256 i = 0; i < count; ++i) {
            Item calldata item = items[i];
            (address target, bytes4 selector) = _route(item.kind, item.token);
            if (selector == 0) {
                emit Skipped(i, item.ref, Why.UnknownKind);
            } else if (item.args.length > MAX_ARGS) {
                emit Skipped(i, item.ref, Why.ArgsTooLong);
            } else if (gasleft() < _gasNeeded(item.gasLimit, count - i - 1)) {
                emit Skipped(i, item.ref, Why.NotEnoughGas);
            } else if (target.code.length == 0) {
                emit Skipped(i, item.ref, Why.NoCode); // a call to an address without code "succeeds"
            } else {
                bool ok = _call(target, selector, item.gasLimit, item.args, reason);
                if (ok) settled |= 1 << i;
                emit Settled(i, item.ref, ok, reason);
            }
        }
    }

    /// Which function of which contract an item calls. That the list is closed keeps a stolen settling key from using this
    /// contract's address for anything but settling.
    function _route(uint8 kind, address token) private pure returns (address target, bytes4 selector) {
        if (kind == EIP3009_VRS) {
            return (
                token,
                bytes4(
                    keccak256(
                        "transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,uint8,bytes32,bytes32)"
                    )
                )
            );
        }
        if (kind == EIP3009_BYTES) {
            return (
                token,
                bytes4(keccak256("transferWithAuthorization(address,address,uint256,uint256,uint256,bytes32,bytes)"))
            );
        }
        if (kind == EXACT) {
            return (
                EXACT_PROXY,
                bytes4(keccak256("settle(((address,uint256),uint256,uint256),address,(address,uint256),bytes)"))
            );
        }
        if (kind == EXACT_WITH_PERMIT) {
            return (
                EXACT_PROXY,
                bytes4(
                    keccak256(
                        "settleWithPermit((uint256,uint256,bytes32,bytes32,uint8),((address,uint256),uint256,uint256),address,(address,uint256),bytes)"
                    )
                )
            );
        }
        if (kind == UPTO) {
            return (
                UPTO_PROXY,
                bytes4(
                    keccak256(
                        "settle(((address,uint256),uint256,uint256),uint256,address,(address,address,uint256),bytes)"
                    )
                )
            );
        }
        if (kind == UPTO_WITH_PERMIT) {
            return (
                UPTO_PROXY,
                bytes4(
                    keccak256(
                        "settleWithPermit((uint256,uint256,bytes32,bytes32,uint8),((address,uint256),uint256,uint256),uint256,address,(address,address,uint256),bytes)"
                    )
                )
            );
        }
    }

    /// A call gets at most 63/64 of what is left (EIP-150), silently less than asked for: with too little left an item would
    /// run out of gas that would have succeeded with its limit. `after_` items must still be reportable when it burned all.
    function _gasNeeded(uint64 gasLimit, uint256 after_) private pure returns (uint256) {
        return uint256(gasLimit) + gasLimit / 63 + ITEM_GAS + after_ * SKIP_GAS;
    }

    /// Calls, and leaves in `reason` the first MAX_REASON bytes of what a failing call returned. The compiler's own call
    /// would copy all of it, at our cost: megabytes, from a token that means harm.
    function _call(address target, bytes4 selector, uint256 gasLimit, bytes calldata args, bytes memory reason)
        private
        returns (bool ok)
    {
        uint256 limit = MAX_REASON;
        assembly ("memory-safe") {
            let data := mload(0x40) // used and left: the next item writes over it
            mstore(data, selector)
            calldatacopy(add(data, 4), args.offset, args.length)
            ok := call(gasLimit, target, 0, data, add(args.length, 4), 0, 0)
            let size := 0
            if iszero(ok) {
                size := returndatasize()
                if gt(size, limit) { size := limit }
                returndatacopy(add(reason, 32), 0, size)
            }
            mstore(reason, size)
        }
    }
}
