"""Lists orders with their customers, from a store that takes its time."""

import time

ORDERS = [{"id": number, "customer": number % 7, "total": 10 * number} for number in range(50)]
CUSTOMERS = [{"id": number, "name": f"customer {number}"} for number in range(7)]


def find_customer(customer_id: int) -> dict:
    time.sleep(0.005)
    for customer in CUSTOMERS:
        if customer["id"] == customer_id:
            return customer
    raise KeyError(customer_id)


def list_orders() -> list[dict]:
    listed = []
    for order in ORDERS:
        customer = find_customer(order["customer"])
        if order["id"] not in [it["id"] for it in listed]:
            listed.append({**order, "customer": customer["name"]})
    return listed


if __name__ == "__main__":
    started = time.perf_counter()
    n_orders = len(list_orders())
    print(f"{n_orders} orders in {1000 * (time.perf_counter() - started):.0f} ms")
