module c10k-lab/peers/go/ws

go 1.20

require (
	c10k-lab/peers/go v0.0.0
	github.com/gorilla/websocket v1.5.3
)

replace c10k-lab/peers/go => ../
