// SPDX-License-Identifier: Apache-2.0
pragma solidity ^0.8.20;

/// For tests: put in a token's place, it is that token (whose code has been moved to MOVED) but refuses one receiver.
contract TestRefusal {
    address public constant REFUSED = 0x000000000000000000000000000000000000bad1;
    address public constant MOVED = 0x000000000000000000000000000000000000c0DE;

    fallback() external {
        if (msg.sig == bytes4(keccak256("transferFrom(address,address,uint256)"))) {
            (, address to) = abi.decode(msg.data[4:], (address, address));
            require(to != REFUSED, "this receiver is refused");
        }
        (bool ok, bytes memory answer) = MOVED.delegatecall(msg.data);
        assembly {
            if ok { return(add(answer, 32), mload(answer)) }
            revert(add(answer, 32), mload(answer))
        }
    }
}
