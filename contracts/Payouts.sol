// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

import {Callers} from "./Callers.sol";

/// Pays many receivers in one transaction; each is paid or not alone, and no payout is paid twice.
///
/// Who calls it: the gateway's payout keys, nobody else. The tokens come from `source` (the treasury) by its allowance: what
/// the treasury approves is the most that a stolen payout key can take, and approving 0 stops it at once. Nothing lies here.
///
/// Every payout has an id, and the contract remembers how each ended, for ever: a gateway that forgot (a restored backup, a
/// reorganisation, two gateways) sends it again and it is skipped. So an id is paid once or refused once, and never both.
///
/// Gas: an item is tried only when its whole limit can be given to it; otherwise it is skipped and can be sent again. Sending
/// 10,000 + items · 225,000 on top of the transaction's own cost is always enough for all of them. Do not ask the node for an
/// estimate: skipping is no failure, so it would find the gas with which everything is skipped.
///
/// Reading the events: every item has exactly one, `Paid` or `Skipped`; only those whose address is this contract count. What
/// moved is told by the token's Transfer event.
contract Payouts is Callers {
    struct Item {
        bytes32 id;
        address to;
        uint256 amount;
    }

    enum End {
        None,
        Paid,
        Refused
    }

    struct Ended {
        End end;
        uint64 number; // of the block: where its event is
    }

    enum Why {
        Ended, // paid or refused before: see endOf
        Short, // the source or its allowance does not cover it
        NotEnoughGas
    }

    /// A transfer gets this much: a token that needs more refuses.
    uint256 public constant TRANSFER_GAS = 120_000;
    uint256 public constant MAX_ITEMS = 200;
    /// What one item costs besides its transfer, at most: two cold reads of the token, two words written, an event.
    uint256 private constant ITEM_GAS = 90_000;
    /// What reporting one item as skipped costs, at most.
    uint256 private constant SKIP_GAS = 8_000;

    address public immutable token;
    address public immutable source;
    mapping(bytes32 => Ended) public endOf;
    /// All that was ever paid: what the books of a gateway are compared with.
    uint256 public totalPaid;

    /// ok false: the token refused this receiver, for good under this id.
    event Paid(bytes32 indexed id, address indexed to, uint256 amount, bool ok);
    event Skipped(bytes32 indexed id, Why why);

    error NoToken();
    error TooManyItems();
    error NotEnoughGas();

    constructor(address firstOwner, address[] memory callers, address token_, address source_)
        Callers(firstOwner, callers)
    {
        if (token_.code.length == 0 || source_ == address(0)) revert NoToken();
        token = token_;
        source = source_;
    }

    /// Tries the items in order. Reverts, with nothing paid, only for a wrong caller, too many items, calldata that cannot be
    /// read, or when there is not even the gas to report every item.
    function pay(Item[] calldata items) external {
        if (!isCaller[msg.sender]) revert NotCaller();
        uint256 count = items.length;
        if (count > MAX_ITEMS) revert TooManyItems();
        if (gasleft() < 5_000 + count * SKIP_GAS) revert NotEnoughGas();
        for (uint256 i = 0; i < count; ++i) {
            Item calldata item = items[i];
            if (endOf[item.id].end != End.None) {
                emit Skipped(item.id, Why.Ended);
            } else if (gasleft() < TRANSFER_GAS * 64 / 63 + ITEM_GAS + (count - i - 1) * SKIP_GAS) {
                emit Skipped(item.id, Why.NotEnoughGas);
            } else if (!_covered(item.amount)) {
                emit Skipped(item.id, Why.Short);
            } else {
                endOf[item.id] = Ended(End.Paid, uint64(block.number)); // before the call: a token that calls back finds it ended
                bool ok = _transfer(item.to, item.amount);
                if (ok) totalPaid += item.amount;
                else endOf[item.id].end = End.Refused;
                emit Paid(item.id, item.to, item.amount, ok);
            }
        }
    }

    /// A transfer that fails for want of money is not the receiver's fault, and can be tried again.
    function _covered(uint256 amount) private view returns (bool) {
        return _read(abi.encodeWithSignature("balanceOf(address)", source)) >= amount
            && _read(abi.encodeWithSignature("allowance(address,address)", source, address(this))) >= amount;
    }

    function _read(bytes memory data) private view returns (uint256) {
        (bool ok, bytes memory answer) = token.staticcall(data);
        return ok && answer.length == 32 ? abi.decode(answer, (uint256)) : 0;
    }

    /// Some tokens answer nothing, some false. Of the answer only one word is copied, whatever its length.
    function _transfer(address to, uint256 amount) private returns (bool ok) {
        bytes memory data = abi.encodeWithSignature("transferFrom(address,address,uint256)", source, to, amount);
        address target = token;
        uint256 limit = TRANSFER_GAS;
        assembly ("memory-safe") {
            mstore(0, 0)
            ok := call(limit, target, 0, add(data, 32), mload(data), 0, 32)
            if ok { ok := or(iszero(returndatasize()), and(gt(returndatasize(), 31), eq(mload(0), 1))) }
        }
    }
}
